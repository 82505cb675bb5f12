// Answers to a cluster's commonest DNS questions, on the link of the pod that asks (tc ingress, direct action).
//
// What it knows: which names exist below one zone, and the addresses of those that have a service's. A question for A
// or AAAA about such a name is answered as `clew dns` would answer it, byte for byte, and goes back out of the link it
// came from. Whatever is unusual, or needs more than this knowledge, goes on to the server untouched.
//
// Filled and attached by clew.dataplane.dns_fast_path, which also has the same decisions in Python (simulate.py).
// Little-endian machines.
#include "dns_answer.h"
#include "dns_packets.h"
#include "dns_question.h"

char LICENSE[] SEC("license") = "Apache-2.0"; // no function of the kernel's that is called asks for another

// A question to one of the servers, the message and its headers in `s`: the outcome, or -1 for a packet that is lost.
static __always_inline int serve(struct __sk_buff *skb, struct scratch *s, __u64 ip_size, __u64 size)
{
	struct name *found = 0;
	struct zone *zone;
	struct live *live;
	__u32 zero = 0;
	__u64 after;
	__s64 sum;
	int what;

	live = bpf_map_lookup_elem(&dns_live, &zero);
	zone = bpf_map_lookup_elem(&dns_zone, &zero);
	if (!live || !zone || bpf_ktime_get_coarse_ns() >= live->until)
		return PASSED_UNSURE;
	// a standard query with one question, no answers and no authority
	if (word_at(s->message + 2) & (QR | OPCODE) || word_at(s->message + 4) != 1 || *(__u32 *)(s->message + 6))
		return PASSED_UNUSUAL;
	what = read_name(s);
	if (what)
		return what;
	what = read_rest(s, size);
	if (what)
		return what;
	if (!is_below(s, zone))
		return PASSED_ZONE;
	what = find(s, zone, &found);
	if (what != ANSWERED_ADDRESS && what < OUTCOMES)
		return what;
	sum = sum_of(s, size, 0, 1);
	after = reply(s, zone, what, found, live->serial);
	if (!after)
		return PASSED_FAILED;
	sum = sum_of(s, after, sum, 0);
	if (send(skb, s, ip_size, after, sum))
		return -1;
	return what == NODATA ? ANSWERED_NODATA : what == NO_NAME ? ANSWERED_NXDOMAIN : ANSWERED_ADDRESS;
}

static __always_inline int take(struct __sk_buff *skb, __u64 ip_size)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udphdr *udp = data + ETH_HLEN + ip_size;
	struct server server = {};
	struct scratch *s;
	__u32 zero = 0;
	__u64 size;
	int outcome;

	if ((void *)(udp + 1) > end)
		return TC_ACT_UNSPEC;
	if (ip_size == sizeof(struct iphdr)) {
		struct iphdr *ip = data + ETH_HLEN;

		if (ip->protocol != IPPROTO_UDP || ip->version != 4 || ip->ihl != 5)
			return TC_ACT_UNSPEC;
		server.address[10] = server.address[11] = 0xff;
		__builtin_memcpy(server.address + 12, &ip->daddr, 4);
	} else {
		struct ipv6hdr *ip = data + ETH_HLEN;

		if (ip->nexthdr != IPPROTO_UDP || ip->version != 6)
			return TC_ACT_UNSPEC;
		__builtin_memcpy(server.address, &ip->daddr, 16);
	}
	server.port = udp->dest;
	if (!bpf_map_lookup_elem(&dns_servers, &server))
		return TC_ACT_UNSPEC;
	outcome = PASSED_UNUSUAL;
	size = bpf_ntohs(udp->len) - sizeof(*udp);
	if (ip_size == sizeof(struct iphdr)) {
		struct iphdr *ip = data + ETH_HLEN;

		if (ip->frag_off & bpf_htons(0x3fff) || bpf_ntohs(ip->tot_len) != ip_size + sizeof(*udp) + size)
			goto passed;
	} else {
		struct ipv6hdr *ip = data + ETH_HLEN;

		if (bpf_ntohs(ip->payload_len) != sizeof(*udp) + size || !udp->check)
			goto passed;
	}
	if (skb->vlan_present || skb->len != ETH_HLEN + ip_size + sizeof(*udp) + size)
		goto passed;
	if (size < HEADER + 5 || size > LONGEST)
		goto passed;
	outcome = PASSED_FAILED;
	HOLD(size);
	if (size < HEADER + 5 || size > LONGEST)
		goto passed;
	s = bpf_map_lookup_elem(&dns_scratch, &zero);
	if (!s)
		goto passed;
	if (bpf_skb_load_bytes(skb, 0, s->macs, 12) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, s->message - sizeof(*udp) - ip_size, ip_size + sizeof(*udp) + size))
		goto passed;
	outcome = serve(skb, s, ip_size, size);
	if (outcome < 0) {
		count(PASSED_FAILED);
		return TC_ACT_SHOT;
	}
	if (outcome <= ANSWERED_NXDOMAIN) {
		count(outcome);
		return bpf_redirect(skb->ifindex, 0);
	}
passed:
	count(outcome);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int dns(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return take(skb, sizeof(struct iphdr));
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return take(skb, sizeof(struct ipv6hdr));
	return TC_ACT_UNSPEC;
}
