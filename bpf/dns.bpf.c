// Answers to a cluster's commonest DNS questions, on the link of the pod that asks (tc ingress, direct action).
//
// What it knows: which names exist below one zone, and the addresses of those that have a service's. A question for A
// or AAAA about such a name is answered as `clew dns` would answer it, byte for byte, and goes back out of the link it
// came from. Whatever is unusual, or needs more than this knowledge, goes on to the server untouched (`pass`).
//
// Filled and attached by clew.dataplane.dns_fast_path, which also has the same decisions in Python (simulate.py).
// Little-endian machines.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Apache-2.0"; // no helper below asks for another

#define KEY 128       // bytes of a name below the zone, in wire form without its end
#define APEX 64       // bytes of the zone's own name, in wire form
#define APEX_LABELS 6 // of the zone's own name, the root left out
#define LABELS 32     // of a question's name; what has more passes on
#define SOA 128       // bytes of an SOA record
#define HEADER 12     // bytes of a DNS header
#define LONGEST 282   // bytes of a question: header, name, type and class, EDNS without options
#define MESSAGE 512
#define DEPTH 3 // labels below the zone by which a service is known: SERVICE.NAMESPACE.svc

#define TYPE_A 1
#define TYPE_AAAA 28
#define TYPE_OPT 41
#define CLASS_IN 1
#define QR 0x8000
#define OPCODE 0x7800
#define AA 0x0400
#define RD_CD 0x0110
#define NXDOMAIN 3
#define DO 0x8000
#define UDP_SIZE 1232 // as the server's

// What stands at a name. Absent: there is no such name.
#define HAS_A 1
#define HAS_AAAA 2
#define ASK 4       // more than this map knows: the server answers
#define ASK_BELOW 8 // names below it may exist

struct name {
	__u8 what;
	__u8 unused[3];
	__u8 a[4];
	__u8 aaaa[16];
};

// The SOA record of negative answers as it is written behind a question whose last labels are, capital for capital,
// the zone's. `at` are the places of the pointers to the zone's name: owner (0: none), then the two names of its data.
struct soa {
	__u8 size;
	__u8 suffix; // bytes of the question's name that the owner points at; 0: none
	__u8 at[3];
	__u8 serial; // place of the serial number
	__u8 unused[2];
	__u8 bytes[SOA];
};

struct zone {
	__u8 size; // of the apex, in bytes
	__u8 labels;
	__u8 unused[6];
	__be32 ttl;
	__u32 unused2;
	__u64 apex[APEX / 8]; // lower case, zeros behind
	__u64 mask[APEX / 8];
	__u8 equal[2 * APEX];         // labels at the end that agree, by the place of the last byte that does not, plus one
	struct soa soa[APEX_LABELS + 1]; // by how many labels agree
};

struct live {
	__u64 until; // ns of CLOCK_MONOTONIC: what is known is known to be complete until then
	__be32 serial;
	__u32 unused;
};

struct server {
	__u8 address[16]; // IPv4 as ::ffff:a.b.c.d
	__be16 port;
	__u16 unused;
};

enum outcome {
	ANSWERED_ADDRESS, ANSWERED_NODATA, ANSWERED_NXDOMAIN,
	PASSED_UNSURE, PASSED_UNUSUAL, PASSED_TYPE, PASSED_ZONE, PASSED_SERVER, PASSED_LONG, PASSED_FAILED,
	OUTCOMES,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, __u8[KEY]);
	__type(value, struct name);
} dns_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct server);
	__type(value, __u32);
} dns_servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zone);
} dns_zone SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct live);
} dns_live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} dns_counts SEC(".maps");

// One packet at a time on a CPU: too large for the stack. What a loop has found is written here and read anew behind it,
// so that the verifier need not follow each of the loop's ends by itself.
struct scratch {
	__u8 macs[16];
	__u8 front[52]; // 4 bytes, then IP and UDP headers directly before the message, whose name is 8-aligned so
	__u8 message[MESSAGE];
	__u8 lower[256 + KEY]; // the name alone
	__u8 starts[LABELS];   // of labels, in the name
	__u8 name;             // bytes of the name, its end included
	__u8 labels;
	__u8 last; // place of the last byte that is not the zone's, plus one
	__u8 edns;
	__u16 type;
	__u16 dnssec_ok;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} dns_scratch SEC(".maps");

// The compiler may not work out a value from what it knows: the verifier would not follow it.
#define HOLD(value) asm volatile("" : "+r"(value))
#define AGAIN(field) (*(volatile typeof(field) *)&(field))

// A place in a name, which the verifier does not know to be below 256.
static __always_inline __u64 byte(__u64 place)
{
	HOLD(place);
	return place & 0xff;
}

static __always_inline void count(__u32 outcome)
{
	__u64 *value = bpf_map_lookup_elem(&dns_counts, &outcome);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline __u16 word_at(const __u8 *at)
{
	return at[0] << 8 | at[1];
}

static __always_inline void put_word(__u8 *at, __u16 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

// Eight bytes with ASCII capitals made small; the length of a label is below them all.
static __always_inline __u64 lowered(__u64 word)
{
	const __u64 ones = 0x0101010101010101ULL;
	__u64 seven = word & (0x7f * ones);
	__u64 from_a = seven + (0x80 - 'A') * ones, above_z = seven + (0x7f - 'Z') * ones;
	__u64 capital = (from_a ^ above_z) & ~word & (0x80 * ones);

	return word | capital >> 2;
}

// Where the name's labels start, and the name in lower case. 0, or the outcome.
static __always_inline int read_name(struct scratch *s)
{
	__u64 at = 0, labels, name;

	for (labels = 0; labels < LABELS; labels++) {
		__u64 size;

		if (at > 254)
			return PASSED_UNUSUAL;
		size = s->message[HEADER + at];
		if (!size)
			break;
		if (size > 63)
			return PASSED_UNUSUAL;
		s->starts[labels] = at;
		at += 1 + size;
	}
	if (labels == LABELS)
		return PASSED_LONG;
	if (at > 254)
		return PASSED_UNUSUAL;
	AGAIN(s->labels) = labels;
	AGAIN(s->name) = at + 1;
	name = AGAIN(s->name);
	for (__u64 i = 0; i < 256 && i < name; i += 8)
		*(__u64 *)(s->lower + i) = lowered(*(__u64 *)(s->message + HEADER + i));
	return 0;
}

// What follows the name, to the message's last byte. 0, or the outcome.
static __always_inline int read_rest(struct scratch *s, __u64 size)
{
	__u64 name = AGAIN(s->name), end = HEADER + name + 4, additional = word_at(s->message + 10);
	__u8 *tail = s->message + HEADER + name;

	s->type = word_at(tail);
	if (word_at(tail + 2) != CLASS_IN || (s->type != TYPE_A && s->type != TYPE_AAAA))
		return PASSED_TYPE;
	s->edns = additional;
	s->dnssec_ok = 0;
	if (!additional)
		return size == end ? 0 : PASSED_UNUSUAL;
	tail += 4;
	if (additional != 1 || size != end + 11 || tail[0] || word_at(tail + 1) != TYPE_OPT)
		return PASSED_UNUSUAL;
	s->dnssec_ok = word_at(tail + 7);
	// an extended code or a version, flags that nobody knows, options
	return word_at(tail + 5) || s->dnssec_ok & ~DO || word_at(tail + 9) ? PASSED_UNUSUAL : 0;
}

// Whether the name is the zone's or below it.
static __always_inline int is_below(struct scratch *s, struct zone *zone)
{
	__u64 name = AGAIN(s->name), labels = AGAIN(s->labels), from, other = 0;

	if (zone->size > name || zone->labels > labels)
		return 0;
	from = byte(name - zone->size);
	labels = byte(labels - zone->labels);
	if (s->starts[labels & (LABELS - 1)] != from)
		return 0;
	for (__u64 i = 0; i < APEX / 8; i++)
		other |= (*(__u64 *)(s->lower + from + i * 8) & zone->mask[i]) ^ zone->apex[i];
	return !other;
}

enum { NODATA = OUTCOMES, NO_NAME };

// Looks the name up from the deepest that can be known: ANSWERED_ADDRESS with what stands there, NODATA, NO_NAME, or
// the outcome of one that passes on.
static __always_inline int find(struct scratch *s, struct zone *zone, struct name **found)
{
	__u64 apex = byte(AGAIN(s->name) - zone->size), below = byte(AGAIN(s->labels) - zone->labels);

	if (!below)
		return NODATA;
	for (__u64 i = 0; i < KEY; i += 8)
		*(__u64 *)(s->lower + apex + i) = 0;
#pragma unroll
	for (__u64 depth = DEPTH; depth; depth--) {
		__u64 from;
		__u8 what;

		if (depth > below)
			continue;
		from = s->starts[(below - depth) & (LABELS - 1)];
		if (apex - from > KEY)
			return PASSED_LONG;
		*found = bpf_map_lookup_elem(&dns_names, s->lower + from);
		if (!*found)
			continue;
		what = (*found)->what;
		if (depth < below)
			return what & ASK_BELOW ? PASSED_SERVER : NO_NAME;
		if (what & ASK)
			return PASSED_SERVER;
		return what & (s->type == TYPE_A ? HAS_A : HAS_AAAA) ? ANSWERED_ADDRESS : NODATA;
	}
	return NO_NAME;
}

// Writes the address behind the question; the bytes written.
static __always_inline __u64 put_address(__u8 *tail, struct zone *zone, __u16 type, struct name *found)
{
	__be32 ttl = zone->ttl;

	put_word(tail, 0xc000 | HEADER);
	put_word(tail + 2, type);
	put_word(tail + 4, CLASS_IN);
	__builtin_memcpy(tail + 6, &ttl, 4);
	if (type == TYPE_A) {
		put_word(tail + 10, 4);
		__builtin_memcpy(tail + 12, found->a, 4);
		return 16;
	}
	put_word(tail + 10, 16);
	__builtin_memcpy(tail + 12, found->aaaa, 16);
	return 28;
}

// The place of the last byte that is not zero, in a word that has one.
static __always_inline __u64 last_byte(__u64 word)
{
	__u64 place = 0;

	if (word >> 32) {
		place = 4;
		word >>= 32;
	}
	if (word >> 16) {
		place += 2;
		word >>= 16;
	}
	return word >> 8 ? place + 1 : place;
}

// How many labels at the name's end are the zone's, capital for capital.
static __always_inline __u64 agreeing(struct scratch *s, struct zone *zone, __u64 from)
{
	AGAIN(s->last) = 0;
	// Unrolled: Linux 6.1 refuses a loop that is entered in its middle, which is how the compiler would have it.
	#pragma unroll
	for (__u64 i = 0; i < APEX; i += 8) {
		__u64 other = (*(__u64 *)(s->message + HEADER + from + i) & zone->mask[i / 8]) ^ zone->apex[i / 8];

		if (other)
			AGAIN(s->last) = i + last_byte(other) + 1;
	}
	return zone->equal[AGAIN(s->last) & (2 * APEX - 1)];
}

// Writes the SOA behind the question; the bytes written, 0 where that cannot be.
static __always_inline __u64 put_soa(struct scratch *s, struct zone *zone, __be32 serial)
{
	__u64 name = AGAIN(s->name), from = byte(name - zone->size), labels, place;
	__u8 *tail = s->message + HEADER + name + 4;
	struct soa *soa;

	labels = agreeing(s, zone, from);
	if (labels > APEX_LABELS)
		return 0;
	soa = &zone->soa[labels];
	for (__u64 i = 0; i < SOA; i += 8)
		*(__u64 *)(tail + i) = *(__u64 *)(soa->bytes + i);
	// the zone's name stands in the question where its owner points at it all, else in the owner, written out
	place = labels == zone->labels ? HEADER + from : HEADER + name + 4;
	if (soa->suffix)
		put_word(tail + (soa->at[0] & (SOA - 1)), 0xc000 | (HEADER + name - soa->suffix));
	put_word(tail + (soa->at[1] & (SOA - 1)), 0xc000 | place);
	put_word(tail + (soa->at[2] & (SOA - 1)), 0xc000 | place);
	__builtin_memcpy(tail + (soa->serial & (SOA - 1)), &serial, 4);
	return soa->size;
}

// The message from question to answer; its new size, 0 where that cannot be.
static __always_inline __u64 reply(struct scratch *s, struct zone *zone, int what, struct name *found, __be32 serial)
{
	__u64 tail = 0, end = HEADER + (__u64)AGAIN(s->name) + 4;
	__u16 flags = (word_at(s->message + 2) & RD_CD) | QR | AA | (what == NO_NAME ? NXDOMAIN : 0);

	if (what != ANSWERED_ADDRESS)
		tail = put_soa(s, zone, serial);
	else if (found)
		tail = put_address(s->message + end, zone, s->type, found);
	HOLD(tail);
	if (!tail || tail > SOA)
		return 0;
	end += tail;
	if (s->edns) {
		__u8 *opt = s->message + end;

		opt[0] = 0;
		put_word(opt + 1, TYPE_OPT);
		put_word(opt + 3, UDP_SIZE);
		put_word(opt + 5, 0);
		put_word(opt + 7, s->dnssec_ok);
		put_word(opt + 9, 0);
		end += 11;
	}
	put_word(s->message + 2, flags);
	put_word(s->message + 6, what == ANSWERED_ADDRESS);
	put_word(s->message + 8, what != ANSWERED_ADDRESS);
	return end;
}

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
