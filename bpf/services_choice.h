/* Which service an address belongs to, and which backend a client of it gets: one answer for sockets and packets. */
#ifndef CLEW_SERVICES_CHOICE_H
#define CLEW_SERVICES_CHOICE_H

#include "services.h"

enum fate {
	NOT_OURS,
	TO_BACKEND,
	REFUSED,
	DROPPED,
};

/* Who asks, beside where to. */
struct client {
	struct address address; /* for source ranges */
	struct address memory;  /* as affinity knows it */
	int inside;             /* a pod, or the node itself: takes the short cut of Local frontends */
};

struct choice {
	struct endpoint endpoint;
	__u32 set;
};

static __always_inline struct node *node_of(const struct address *address)
{
	__u32 index = !is_ipv4(address);

	return bpf_map_lookup_elem(&nodes, &index);
}

static __always_inline struct address any_address(const struct address *like)
{
	return is_ipv4(like) ? ipv4(0) : (struct address){};
}

/* The frontend of an address and port; for the node's own addresses also that of a node port. The key becomes the one
 * under which it was found. */
static __always_inline struct frontend *frontend_of(struct frontend_key *key)
{
	struct frontend *found = bpf_map_lookup_elem(&frontends, key);

	if (found || !bpf_map_lookup_elem(&addresses, &key->address))
		return found;
	key->address = any_address(&key->address);
	return bpf_map_lookup_elem(&frontends, key);
}

/* Whether the address is a cluster address: what no service has there is refused. */
static __always_inline int is_cluster_address(const struct address *address)
{
	return bpf_map_lookup_elem(&cluster_ips, address) != 0;
}

static __always_inline int is_member(__u32 set, const struct endpoint *endpoint)
{
	struct member_key key = {.set = set, .endpoint = *endpoint};

	return bpf_map_lookup_elem(&members, &key) != 0;
}

static __always_inline int is_admitted(const struct frontend_key *frontend, const struct client *client)
{
	struct range_key key = {
		.bits = 8 * (sizeof(*frontend) + sizeof(client->address)),
		.frontend = *frontend,
		.client = client->address,
	};

	return bpf_map_lookup_elem(&ranges, &key) != 0;
}

/* The backend that a client has kept, while it is one and was used within the time. */
static __always_inline int recall(const struct client_key *key, __u32 seconds, struct choice *choice)
{
	__u64 now = bpf_ktime_get_ns();
	struct kept *kept = bpf_map_lookup_elem(&affinity, key);

	if (!kept || now - kept->used > seconds * 1000000000ULL || !is_member(key->set, &kept->endpoint))
		return 0;
	choice->endpoint = kept->endpoint;
	kept->used = now;
	return 1;
}

static __always_inline void remember(const struct client_key *key, const struct choice *choice)
{
	struct kept kept = {.endpoint = choice->endpoint, .used = bpf_ktime_get_ns()};

	bpf_map_update_elem(&affinity, key, &kept, BPF_ANY);
}

/* One backend of a set, at random or the one that the client has kept. */
static __always_inline int draw(__u32 set, __u32 count, __u32 seconds, const struct client *client,
				struct choice *choice)
{
	struct endpoint_key key = {.set = set};
	struct client_key who = {.set = set, .client = client->memory};
	struct endpoint *drawn;

	choice->set = set;
	if (seconds && recall(&who, seconds, choice))
		return 1;
	key.index = bpf_get_prandom_u32() % count;
	drawn = bpf_map_lookup_elem(&endpoints, &key);
	if (!drawn)
		return 0;
	choice->endpoint = *drawn;
	if (seconds)
		remember(&who, choice);
	return 1;
}

static __always_inline enum fate choose(const struct frontend_key *key, const struct frontend *frontend,
					const struct client *client, struct choice *choice)
{
	int external = frontend->flags & EXTERNAL;
	int here = (frontend->flags & LOCAL) && !(external && client->inside);
	__u32 count = here ? frontend->locals : frontend->clusters;

	if ((frontend->flags & RESTRICTED) && !is_admitted(key, client))
		return DROPPED;
	if (!count)
		return frontend->flags & SERVED ? DROPPED : REFUSED;
	if (!draw(here ? frontend->local : frontend->cluster, count, frontend->affinity, client, choice))
		return DROPPED; /* between two steps of a change; a client asks again */
	return TO_BACKEND;
}

#endif
