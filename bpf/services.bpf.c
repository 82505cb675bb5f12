/* Services of Kubernetes by eBPF: programs for sockets, held by the node's control group, and one for packets, held by
 * each of the node's devices. dataplane/ebpf/README.md draws the way of a packet.
 */
#include "services_sockets.h"
#include "services_tracking.h"

#define GO_ON TC_ACT_UNSPEC /* to whatever else looks at packets here */

char LICENSE[] SEC("license") = "GPL"; /* bpf_probe_read_kernel and tracking's functions ask for it */

SEC("cgroup/connect4")
int clew_connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer4(ctx);
	int changed = 0;

	if (!redirect(ctx, &peer, 0, &changed))
		return DENY;
	return changed ? go4(ctx, &peer) : PERMIT;
}

SEC("cgroup/connect6")
int clew_connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer6(ctx);
	int changed = 0;

	if (!redirect(ctx, &peer, 0, &changed))
		return DENY;
	return changed ? go6(ctx, &peer) : PERMIT;
}

SEC("cgroup/sendmsg4")
int clew_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer4(ctx);
	int changed = 0;

	if (!redirect(ctx, &peer, 1, &changed))
		return DENY;
	return changed ? go4(ctx, &peer) : PERMIT;
}

SEC("cgroup/sendmsg6")
int clew_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer6(ctx);
	int changed = 0;

	if (!redirect(ctx, &peer, 1, &changed))
		return DENY;
	return changed ? go6(ctx, &peer) : PERMIT;
}

SEC("cgroup/recvmsg4")
int clew_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer4(ctx), *asked = asked_for(ctx, &peer);

	return asked ? go4(ctx, asked) : PERMIT;
}

SEC("cgroup/recvmsg6")
int clew_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer6(ctx), *asked = asked_for(ctx, &peer);

	return asked ? go6(ctx, asked) : PERMIT;
}

SEC("cgroup/getpeername4")
int clew_peername4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer4(ctx), *asked = asked_for(ctx, &peer);

	return asked ? go4(ctx, asked) : PERMIT;
}

SEC("cgroup/getpeername6")
int clew_peername6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer6(ctx), *asked = asked_for(ctx, &peer);

	return asked ? go6(ctx, asked) : PERMIT;
}

/* The tables of this mode in nftables refuse what carries the mark. */
static __always_inline int refuse(struct __sk_buff *skb, const struct node *node)
{
	skb->mark |= node->refused_mark;
	return GO_ON;
}

static __always_inline int serve(struct __sk_buff *skb, const struct packet *packet, const struct node *node,
				 const struct frontend_key *key, const struct frontend *frontend)
{
	struct client client = {.address = packet->source, .memory = packet->source};
	struct choice choice = {};
	int masqueraded;

	client.inside = is_inside(skb, packet, node);
	switch (choose(key, frontend, &client, &choice)) {
	case TO_BACKEND:
		masqueraded = is_masqueraded(frontend, node, client.inside, packet, &choice.endpoint) &&
			      (node->address.words[0] | node->address.words[1] | node->address.words[3]);
		if (enter(skb, packet, &choice.endpoint, masqueraded ? &node->address : &packet->source))
			return GO_ON;
		return TC_ACT_SHOT; /* rather than to leave for an address that nobody has; a client asks again */
	case REFUSED:
		return refuse(skb, node);
	case DROPPED:
		return TC_ACT_SHOT;
	default:
		return GO_ON;
	}
}

SEC("tc")
int clew_services(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct frontend_key key = {};
	struct frontend *frontend;
	struct node *node;

	if (!read_packet(skb, &packet))
		return GO_ON;
	node = node_of(&packet.destination);
	if (!node)
		return GO_ON;
	key.address = packet.destination;
	key.port = packet.port;
	key.protocol = packet.protocol;
	frontend = packet.port ? frontend_of(&key) : 0;
	if (!frontend) {
		int answers = packet.port || packet.asks;

		return answers && is_cluster_address(&packet.destination) ? refuse(skb, node) : GO_ON;
	}
	if ((frontend->flags & BY_TABLES) || is_under_way(skb, &packet))
		return GO_ON;
	return serve(skb, &packet, node, &key, frontend);
}
