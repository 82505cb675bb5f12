/* Services for sockets of this node's own programs and pods: the address is exchanged before a packet exists, so
 * packets go from the client to the backend and back untouched.
 *
 * Datagram sockets that connect keep the service as their peer: what they send later asks nobody, so it has to be the
 * packets that find a backend, and another one when that has gone. Those that send without connecting ask each time.
 *
 * Pods use cluster addresses so. What their packets to outside addresses and node ports need (the node's address as
 * source) no socket can give: they come through the node's door (services_packets.h), like those of clients outside.
 */
#ifndef CLEW_SERVICES_SOCKETS_H
#define CLEW_SERVICES_SOCKETS_H

#include <linux/errno.h>
#include <linux/in.h>
#include "services_choice.h"

#define AF_INET6 10
#define PERMIT 1
#define DENY 0 /* EPERM, or what bpf_set_retval said */
#define MPTCP 262

static __always_inline struct endpoint peer4(const struct bpf_sock_addr *ctx)
{
	return (struct endpoint){.address = ipv4(ctx->user_ip4), .port = ctx->user_port};
}

static __always_inline struct endpoint peer6(const struct bpf_sock_addr *ctx)
{
	return (struct endpoint){
		.address = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}},
		.port = ctx->user_port,
	};
}

static __always_inline int go4(struct bpf_sock_addr *ctx, const struct endpoint *to)
{
	ctx->user_ip4 = to->address.words[3];
	ctx->user_port = to->port;
	return PERMIT;
}

static __always_inline int go6(struct bpf_sock_addr *ctx, const struct endpoint *to)
{
	ctx->user_ip6[0] = to->address.words[0];
	ctx->user_ip6[1] = to->address.words[1];
	ctx->user_ip6[2] = to->address.words[2];
	ctx->user_ip6[3] = to->address.words[3];
	ctx->user_port = to->port;
	return PERMIT;
}

static __always_inline __u8 protocol_of(const struct bpf_sock_addr *ctx)
{
	return ctx->protocol == MPTCP ? IPPROTO_TCP : ctx->protocol;
}

/* A socket has no source yet. Ranges see the node's address; affinity the network namespace: all that is known of a
 * pod. The first word is no address that a client can have (multicast). */
static __always_inline struct client client_of(const struct node *node, __u64 cookie)
{
	return (struct client){
		.address = node->address,
		.memory = {{0xffffffff, cookie >> 32, cookie, 0}},
		.inside = 1,
	};
}

static __always_inline void note_reply(struct bpf_sock_addr *ctx, const struct endpoint *from,
				       const struct endpoint *instead)
{
	struct socket_key key = {.cookie = bpf_get_socket_cookie(ctx), .peer = *from};
	struct endpoint *known = bpf_map_lookup_elem(&replies, &key);

	if (known && known->port == instead->port && same_address(&known->address, &instead->address))
		return; /* to write it anew would cost each datagram as much as all the rest */
	bpf_map_update_elem(&replies, &key, instead, BPF_ANY);
}

/* A socket that sends without having connected stays with a backend, as a flow of packets would. */
static __always_inline int sent_before(struct bpf_sock_addr *ctx, const struct frontend *frontend,
				       const struct endpoint *peer, struct choice *choice)
{
	struct socket_key key = {.cookie = bpf_get_socket_cookie(ctx), .peer = *peer};
	struct sent *sent = bpf_map_lookup_elem(&senders, &key);

	if (!sent || (sent->set != frontend->cluster && sent->set != frontend->local) ||
	    !is_member(sent->set, &sent->endpoint))
		return 0;
	choice->endpoint = sent->endpoint;
	choice->set = sent->set;
	return 1;
}

static __always_inline void note_sender(struct bpf_sock_addr *ctx, const struct endpoint *peer,
					const struct choice *choice)
{
	struct socket_key key = {.cookie = bpf_get_socket_cookie(ctx), .peer = *peer};
	struct sent sent = {.endpoint = choice->endpoint, .set = choice->set};

	bpf_map_update_elem(&senders, &key, &sent, BPF_ANY);
}

/* Whether a datagram socket hears one peer only. One of IPv6 still does when it has been disconnected: the kernel keeps
 * the address. */
static __always_inline int has_peer(const struct bpf_sock *socket)
{
	if (socket->state == BPF_TCP_ESTABLISHED)
		return 1;
	return socket->family == AF_INET6 &&
	       (socket->dst_ip6[0] | socket->dst_ip6[1] | socket->dst_ip6[2] | socket->dst_ip6[3]);
}

/* Whether the socket keeps the service as its peer, and its packets find a backend. */
static __always_inline int is_left_to_packets(const struct bpf_sock_addr *ctx, __u8 protocol, int sends)
{
	if (protocol == IPPROTO_TCP)
		return 0;
	return protocol != IPPROTO_UDP || !sends || (ctx->sk && has_peer(ctx->sk));
}

/* What becomes of a socket that wants to reach `peer`. */
static __always_inline enum fate translate(struct bpf_sock_addr *ctx, const struct endpoint *peer, int sends,
					   struct choice *choice)
{
	struct frontend_key key = {.address = peer->address, .port = peer->port, .protocol = protocol_of(ctx)};
	struct node *node = node_of(&peer->address);
	struct frontend *frontend;
	struct client client;
	enum fate fate;
	__u64 cookie;

	if (!node || is_left_to_packets(ctx, key.protocol, sends))
		return NOT_OURS;
	cookie = bpf_get_netns_cookie(ctx);
	if (cookie != node->cookie && (node->flags & MASQUERADE_ALL))
		return NOT_OURS;
	frontend = frontend_of(&key);
	if (!frontend)
		return is_cluster_address(&peer->address) ? REFUSED : NOT_OURS;
	if (cookie != node->cookie && (frontend->flags & EXTERNAL))
		return NOT_OURS;
	if (sends && sent_before(ctx, frontend, peer, choice))
		return TO_BACKEND;
	client = client_of(node, cookie);
	fate = choose(&key, frontend, &client, choice);
	if (sends && fate == TO_BACKEND)
		note_sender(ctx, peer, choice);
	return fate;
}

/* Whether the socket may go on, its peer then being where it goes. */
static __always_inline int redirect(struct bpf_sock_addr *ctx, struct endpoint *peer, int sends, int *changed)
{
	struct choice choice = {};

	switch (translate(ctx, peer, sends, &choice)) {
	case TO_BACKEND:
		note_reply(ctx, &choice.endpoint, peer);
		*peer = choice.endpoint;
		*changed = 1;
		return PERMIT;
	case REFUSED:
		bpf_set_retval(-ECONNREFUSED);
		return DENY;
	case DROPPED:
		return DENY;
	default:
		return PERMIT;
	}
}

/* The service that a datagram or a connection came from, where the socket went to one. */
static __always_inline struct endpoint *asked_for(struct bpf_sock_addr *ctx, const struct endpoint *from)
{
	struct socket_key key = {.cookie = bpf_get_socket_cookie(ctx), .peer = *from};

	return bpf_map_lookup_elem(&replies, &key);
}

#endif
