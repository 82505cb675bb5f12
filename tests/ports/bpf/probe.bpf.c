/* A program with one of everything that the loader takes: maps, constants, functions that call functions. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct key {
	__u32 length;
	__u16 port, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__type(key, struct key);
	__type(value, __u64[3]);
} things SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

const volatile __u32 verdict = 2;
const volatile __u16 port = 80;

static __noinline __u32 count(__u32 which)
{
	__u64 *number = bpf_map_lookup_elem(&counts, &which);

	if (!number)
		return 0;
	__sync_fetch_and_add(number, 1);
	return *number;
}

static __noinline __u32 count_two(__u32 which)
{
	return count(which) + count(which + 1);
}

SEC("tc") int look(struct __sk_buff *skb)
{
	struct key key = { skb->len, port, 0 };
	__u64 *value = bpf_map_lookup_elem(&things, &key);

	if (value) {
		count(3);
		return (int)value[1];
	}
	count_two(0);
	return verdict;
}

SEC("cgroup/connect4") int refuse(struct bpf_sock_addr *address)
{
	count(2);
	if (address->user_port != bpf_htons(port))
		return 1;
	bpf_set_retval(-111); /* ECONNREFUSED */
	return 0;
}
