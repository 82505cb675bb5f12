// The answer written over the question: addresses, or the SOA that negative answers bear (RFC 2308), and EDNS.
#ifndef CLEW_DNS_ANSWER_H
#define CLEW_DNS_ANSWER_H

#include "dns_names.h"

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

#endif
