/* Services for packets that arrive at a device of the node. A backend is chosen for the first packet of a flow and
 * handed to the kernel's connection tracking; netfilter then translates the flow both ways, with its fragments and the
 * ICMP errors about it.
 */
#ifndef CLEW_SERVICES_PACKETS_H
#define CLEW_SERVICES_PACKETS_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include "services_choice.h"

#define EXTENSIONS 4 /* IPv6 extension headers that are looked past */
#define ECHO_REQUEST 8 /* of ICMP, and of ICMPv6 */
#define ECHO_REQUEST6 128

struct packet {
	struct address source, destination;
	__be16 source_port, port;
	__u8 protocol;
	__u8 opens; /* a TCP connection begins with it */
	__u8 asks;  /* ICMP: an echo request */
};

static __always_inline int read(struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	return bpf_skb_load_bytes_relative(skb, offset, to, size, BPF_HDR_START_NET) == 0; /* some devices have no MAC */
}

static __always_inline int read_transport(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	struct {
		__be16 source, port;
		__u8 rest[9], flags;
	} head = {};
	__u8 type = 0;

	switch (packet->protocol) {
	case IPPROTO_TCP:
		if (!read(skb, offset, &head, 14))
			return 0;
		packet->opens = (head.flags & 0x12) == 0x02; /* SYN without ACK */
		break;
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		if (!read(skb, offset, &head, 4))
			return 0;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (!read(skb, offset, &type, 1))
			return 0;
		packet->asks = type == ECHO_REQUEST || type == ECHO_REQUEST6;
		break;
	}
	packet->source_port = head.source;
	packet->port = head.port;
	return 1;
}

static __always_inline int read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr ip;

	if (!read(skb, 0, &ip, sizeof(ip)) || (ip.frag_off & bpf_htons(0x1fff)))
		return 0; /* later fragments go with the first one */
	packet->source = ipv4(ip.saddr);
	packet->destination = ipv4(ip.daddr);
	packet->protocol = ip.protocol;
	return read_transport(skb, 4 * ip.ihl, packet);
}

static __always_inline int read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	__u32 offset = sizeof(struct ipv6hdr);
	struct ipv6hdr ip;
	__u8 next[8];
	__u8 protocol;

	if (!read(skb, 0, &ip, sizeof(ip)))
		return 0;
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(ip.saddr));
	__builtin_memcpy(&packet->destination, &ip.daddr, sizeof(ip.daddr));
	protocol = ip.nexthdr;
#pragma unroll
	for (int passed = 0; passed < EXTENSIONS; passed++) {
		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_ROUTING && protocol != IPPROTO_DSTOPTS &&
		    protocol != IPPROTO_FRAGMENT)
			break;
		if (!read(skb, offset, next, sizeof(next)))
			return 0;
		if (protocol == IPPROTO_FRAGMENT && ((next[2] << 8 | next[3]) & 0xfff8))
			return 0;
		offset += protocol == IPPROTO_FRAGMENT ? 8 : 8 * (next[1] + 1);
		protocol = next[0];
	}
	packet->protocol = protocol;
	return read_transport(skb, offset, packet);
}

static __always_inline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read_ipv4(skb, packet);
	return skb->protocol == bpf_htons(ETH_P_IPV6) && read_ipv6(skb, packet);
}

/* Whether the client is a pod, as far as anybody said how to tell. */
static __always_inline int is_inside(struct __sk_buff *skb, const struct packet *packet, const struct node *node)
{
	struct pods_key key = {.bits = 128, .client = packet->source};
	__u32 link = skb->ifindex;

	if (node->flags & PODS_BY_LINK)
		return bpf_map_lookup_elem(&links, &link) != 0;
	return bpf_map_lookup_elem(&pods, &key) != 0;
}

/* Where a frontend asks for it, the server sees the node: its answer then comes back this way. */
static __always_inline int is_masqueraded(const struct frontend *frontend, const struct node *node, int inside,
					  const struct packet *packet, const struct endpoint *to)
{
	if (same_address(&packet->source, &to->address))
		return 1; /* a pod that reaches itself would not take an answer from itself */
	if (frontend->flags & EXTERNAL)
		return !(frontend->flags & LOCAL);
	return (node->flags & MASQUERADE_ALL) || ((node->flags & KNOWS_PODS) && !inside);
}

#endif
