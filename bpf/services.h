/* What the agent and the programs of services share: keys and values of the maps, byte for byte as
 * src/clew/dataplane/ebpf/layout.py packs them. Both families are one: IPv4 addresses stand as ::ffff:a.b.c.d.
 * Ports are in network order, everything else in the machine's.
 */
#ifndef CLEW_SERVICES_H
#define CLEW_SERVICES_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct address {
	__u32 words[4];
};

/* Where a service answers. Address 0 of a family: on the node's own addresses, those in `addresses`. */
struct frontend_key {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

enum frontend_flag {
	EXTERNAL = 1,   /* an address from outside or a node port: pods come through the node's door */
	LOCAL = 2,      /* its policy: backends of this node only */
	RESTRICTED = 4, /* only for clients in `ranges` */
	SERVED = 8,     /* somebody serves it, here or elsewhere */
	BY_TABLES = 16, /* its packets are for the tables in nftables that stand behind the programs */
};

struct frontend {
	__u32 cluster; /* number of the set of backends; 0: none */
	__u32 local;
	__u32 clusters; /* how many backends it has */
	__u32 locals;
	__u32 affinity; /* seconds during which a client keeps its backend; 0: none */
	__u32 flags;
};

struct endpoint_key {
	__u32 set;
	__u32 index;
};

struct endpoint {
	struct address address;
	__be16 port;
	__u16 pad;
};

/* A backend of a set, looked up by itself: whether what was remembered still holds. */
struct member_key {
	__u32 set;
	struct endpoint endpoint;
};

struct range_key { /* of an LPM trie: bits, then what they count */
	__u32 bits;
	struct frontend_key frontend;
	struct address client;
};

struct pods_key {
	__u32 bits;
	struct address client;
};

/* What holds for a whole family; element 0: IPv4, 1: IPv6. */
struct node {
	__u64 cookie;           /* of the node's own network namespace */
	struct address address; /* whose sources are masqueraded leave with this one; zero: nobody is */
	__u32 flags;
	__u32 refused_mark;
};

enum node_flag {
	MASQUERADE_ALL = 1,
	KNOWS_PODS = 2,       /* by `pods` or `links`; otherwise nothing is inside */
	PODS_BY_LINK = 4,
};

struct client_key {
	__u32 set;
	struct address client;
};

struct kept {
	struct endpoint endpoint;
	__u32 pad;
	__u64 used; /* nanoseconds since boot */
};

/* A datagram socket and an address as its program knows it, or a backend of it. */
struct socket_key {
	__u64 cookie;
	struct endpoint peer;
	__u32 pad;
};

struct sent {
	struct endpoint endpoint;
	__u32 set;
};

#define NAME 208 /* namespace/name:port local */

#define MAP(kind, name_, key_, value_, entries, flags) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, entries); \
		__uint(map_flags, flags); \
		__type(key, key_); \
		__type(value, value_); \
	} name_ SEC(".maps")

struct name {
	char text[NAME];
};

/* Written by the agent. */
MAP(BPF_MAP_TYPE_HASH, frontends, struct frontend_key, struct frontend, 131072, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_HASH, endpoints, struct endpoint_key, struct endpoint, 262144, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_HASH, members, struct member_key, __u32, 262144, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_LPM_TRIE, ranges, struct range_key, __u32, 131072, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_LPM_TRIE, pods, struct pods_key, __u32, 1024, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_HASH, cluster_ips, struct address, __u32, 65536, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_HASH, addresses, struct address, __u32, 4096, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_HASH, links, __u32, __u32, 4096, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_ARRAY, nodes, __u32, struct node, 2, 0);
MAP(BPF_MAP_TYPE_HASH, names, __u32, struct name, 131072, BPF_F_NO_PREALLOC);

/* Written by the programs. */
MAP(BPF_MAP_TYPE_LRU_HASH, affinity, struct client_key, struct kept, 65536, 0);
MAP(BPF_MAP_TYPE_LRU_HASH, senders, struct socket_key, struct sent, 65536, 0);
MAP(BPF_MAP_TYPE_LRU_HASH, replies, struct socket_key, struct endpoint, 65536, 0);

#define IPV4_MARK bpf_htonl(0x0000ffff) /* third word of an IPv4 address */

static __always_inline int is_ipv4(const struct address *address)
{
	return !address->words[0] && !address->words[1] && address->words[2] == IPV4_MARK;
}

static __always_inline int same_address(const struct address *one, const struct address *other)
{
	return one->words[0] == other->words[0] && one->words[1] == other->words[1] &&
	       one->words[2] == other->words[2] && one->words[3] == other->words[3];
}

static __always_inline struct address ipv4(__be32 address)
{
	return (struct address){{0, 0, IPV4_MARK, address}};
}

#endif
