// What the agent and the program share: keys and values of the maps, byte for byte as
// src/clew/dataplane/dns_fast_path/objects.py packs them; and the room that a packet is worked on in.
#ifndef CLEW_DNS_H
#define CLEW_DNS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

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

// One packet at a time on a CPU: too large for the stack. What a loop has found is written here and read anew behind
// it, so that the verifier need not follow each of the loop's ends by itself.
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

#endif
