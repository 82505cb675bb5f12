/* Connection tracking's own functions (kfuncs, since Linux 6.1): look for a flow, and enter one with its translation. */
#ifndef CLEW_SERVICES_TRACKING_H
#define CLEW_SERVICES_TRACKING_H

#include "services_packets.h"

struct nf_conn {
	__u8 unseen;
};

struct nf_conn___init { /* one that is not entered yet */
	__u8 unseen;
};

struct tracking_options { /* bpf_ct_opts as of 6.1; later kernels take this length too */
	__s32 namespace;
	__s32 error;
	__u8 protocol;
	__u8 direction;
	__u8 reserved[2];
};

enum nf_nat_manip_type {
	SOURCE,
	DESTINATION,
};

union nf_inet_addr {
	__u32 words[4];
};

extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 size,
					 struct tracking_options *options, __u32 length) __ksym;
extern struct nf_conn___init *bpf_skb_ct_alloc(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 size,
					       struct tracking_options *options, __u32 length) __ksym;
extern struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *flow) __ksym;
extern void bpf_ct_set_timeout(struct nf_conn___init *flow, __u32 milliseconds) __ksym;
extern int bpf_ct_change_timeout(struct nf_conn *flow, __u32 milliseconds) __ksym;
extern int bpf_ct_set_nat_info(struct nf_conn___init *flow, union nf_inet_addr *address, int port,
			       enum nf_nat_manip_type side) __ksym;
extern void bpf_ct_release(struct nf_conn *flow) __ksym;

#define HERE -1            /* this namespace */
#define FIRST_MOMENTS 30000 /* milliseconds until tracking has seen the flow and gives it the time of its state */
#define ENDING 7           /* TCP: TIME_WAIT, and from here on closed: the client may use its port anew */

/* Where tracking keeps the state of a TCP connection, in bytes from its beginning; the agent tells, from the kernel's
 * own description of its types. */
const volatile __u32 tcp_state_at = 0;

static __always_inline __u32 fill(const struct packet *packet, struct bpf_sock_tuple *tuple)
{
	if (is_ipv4(&packet->destination)) {
		tuple->ipv4.saddr = packet->source.words[3];
		tuple->ipv4.daddr = packet->destination.words[3];
		tuple->ipv4.sport = packet->source_port;
		tuple->ipv4.dport = packet->port;
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, &packet->source, sizeof(packet->source));
	__builtin_memcpy(tuple->ipv6.daddr, &packet->destination, sizeof(packet->destination));
	tuple->ipv6.sport = packet->source_port;
	tuple->ipv6.dport = packet->port;
	return sizeof(tuple->ipv6);
}

static __always_inline union nf_inet_addr plain(const struct address *address)
{
	if (is_ipv4(address))
		return (union nf_inet_addr){{address->words[3], 0, 0, 0}};
	return (union nf_inet_addr){{address->words[0], address->words[1], address->words[2], address->words[3]}};
}

static __always_inline struct nf_conn *look(struct __sk_buff *skb, const struct packet *packet)
{
	struct tracking_options options = {.namespace = HERE, .protocol = packet->protocol};
	struct bpf_sock_tuple tuple = {};

	if (is_ipv4(&packet->destination)) {
		fill(packet, &tuple);
		return bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
	}
	fill(packet, &tuple);
	return bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv6), &options, sizeof(options));
}

/* Whether the flow goes on as it went. One that has ended is forgotten when its client begins another with the same
 * port: tracking would do so itself, but behind our back. */
static __always_inline int is_under_way(struct __sk_buff *skb, const struct packet *packet)
{
	struct nf_conn *flow = look(skb, packet);
	__u8 state = 0;

	if (!flow)
		return 0;
	if (packet->opens)
		bpf_probe_read_kernel(&state, sizeof(state), (void *)flow + tcp_state_at);
	if (state < ENDING) {
		bpf_ct_release(flow);
		return 1;
	}
	bpf_ct_change_timeout(flow, 0);
	bpf_ct_release(flow);
	flow = look(skb, packet); /* finds it expired, and takes it out */
	if (flow)
		bpf_ct_release(flow);
	return 0;
}

static __always_inline struct nf_conn___init *allocate(struct __sk_buff *skb, const struct packet *packet)
{
	struct tracking_options options = {.namespace = HERE, .protocol = packet->protocol};
	struct bpf_sock_tuple tuple = {};

	if (is_ipv4(&packet->destination)) {
		fill(packet, &tuple);
		return bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
	}
	fill(packet, &tuple);
	return bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv6), &options, sizeof(options));
}

/* From now on the flow leads to `to`, its source being `from`. The port of the source stays where it can: tracking takes
 * another one where answers could not be told from those of a flow that goes to the backend directly.
 * Whether tracking knows the flow now. */
static __always_inline int enter(struct __sk_buff *skb, const struct packet *packet, const struct endpoint *to,
				 const struct address *from)
{
	union nf_inet_addr destination = plain(&to->address), source = plain(from);
	struct nf_conn___init *flow = allocate(skb, packet);
	struct nf_conn *entered;

	if (!flow)
		return 0;
	bpf_ct_set_timeout(flow, FIRST_MOMENTS);
	bpf_ct_set_nat_info(flow, &destination, bpf_ntohs(to->port), DESTINATION);
	bpf_ct_set_nat_info(flow, &source, 0, SOURCE);
	entered = bpf_ct_insert_entry(flow);
	if (!entered) /* another packet of the flow may have been faster */
		entered = look(skb, packet);
	if (!entered)
		return 0;
	bpf_ct_release(entered);
	return 1;
}

#endif
