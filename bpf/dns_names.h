// What is known of a name.
#ifndef CLEW_DNS_NAMES_H
#define CLEW_DNS_NAMES_H

#include "dns.h"

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

#endif
