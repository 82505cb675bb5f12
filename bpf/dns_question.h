// A question read: where its labels start, itself in lower case, its type and EDNS; whether it is the zone's.
#ifndef CLEW_DNS_QUESTION_H
#define CLEW_DNS_QUESTION_H

#include "dns.h"

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

#endif
