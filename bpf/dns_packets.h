// The packet around the message turned round: addresses, ports, lengths and sums.
#ifndef CLEW_DNS_PACKETS_H
#define CLEW_DNS_PACKETS_H

#include "dns.h"

// The sum of the message's bytes on top of `sum`, or what takes them off; zeros are put behind them.
static __always_inline __s64 sum_of(struct scratch *s, __u64 size, __u32 sum, int off)
{
	HOLD(size);
	size &= MESSAGE - 1;
	if (size > MESSAGE - 8)
		return 0;
	s->message[size] = s->message[size + 1] = s->message[size + 2] = 0;
	size = (size + 3) & ~3ULL;
	if (off)
		return bpf_csum_diff((__be32 *)s->message, size, 0, 0, sum);
	return bpf_csum_diff(0, 0, (__be32 *)s->message, size, sum);
}

static __always_inline void turn_ipv4(struct iphdr *ip, __u16 size)
{
	__be32 from = ip->saddr;
	__u16 *words = (__u16 *)ip;
	__u32 sum = 0;

	ip->saddr = ip->daddr;
	ip->daddr = from;
	ip->tos = 0;
	ip->tot_len = bpf_htons(size);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->check = 0;
	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
}

static __always_inline void turn_ipv6(struct ipv6hdr *ip, __u16 size)
{
	struct in6_addr from = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = from;
	*(__be32 *)ip = bpf_htonl(0x60000000); // no class, no flow label
	ip->payload_len = bpf_htons(size);
	ip->hop_limit = 64;
}

// The packet from question to answer. 0, or -1 where it is spoilt.
static __always_inline int send(struct __sk_buff *skb, struct scratch *s, __u64 ip_size, __u64 size, __s64 sum)
{
	struct udphdr *udp = (struct udphdr *)(s->message - sizeof(*udp));
	__u64 at_check = ETH_HLEN + ip_size + offsetof(struct udphdr, check);
	__u16 old = udp->len, new = bpf_htons(sizeof(*udp) + size);
	__be16 port = udp->source;
	__u8 macs[12];

	udp->source = udp->dest;
	udp->dest = port;
	udp->len = new;
	if (ip_size == sizeof(struct iphdr))
		turn_ipv4((struct iphdr *)(s->message - sizeof(*udp) - sizeof(struct iphdr)), ip_size + sizeof(*udp) + size);
	else
		turn_ipv6((struct ipv6hdr *)(s->message - sizeof(*udp) - sizeof(struct ipv6hdr)), sizeof(*udp) + size);
	__builtin_memcpy(macs, s->macs + 6, 6);
	__builtin_memcpy(macs + 6, s->macs, 6);
	HOLD(size);
	size &= MESSAGE - 1;
	if (bpf_skb_change_tail(skb, ETH_HLEN + ip_size + sizeof(*udp) + size, 0) ||
	    bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, s->message - sizeof(*udp) - ip_size, ip_size + sizeof(*udp) + size, 0))
		return -1;
	// The sum is altered, not made anew: whether it covers the message, or only the pseudo header and a device does the
	// rest, is the packet's own knowledge. An IPv4 packet without a sum stays without.
	if (bpf_l4_csum_replace(skb, at_check, 0, sum, BPF_F_MARK_MANGLED_0) ||
	    bpf_l4_csum_replace(skb, at_check, old, new, BPF_F_MARK_MANGLED_0 | 2) ||
	    bpf_l4_csum_replace(skb, at_check, old, new, BPF_F_MARK_MANGLED_0 | BPF_F_PSEUDO_HDR | 2))
		return -1;
	return 0;
}

#endif
