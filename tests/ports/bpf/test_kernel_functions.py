"""Functions of the kernel that programs call (kfuncs), and places in its structs, as the kernel describes them."""

import errno
import subprocess
from pathlib import Path
from struct import pack, unpack

import pytest

from clew.kernel import bpf
from clew.kernel.bpf import kernel_types
from clew.kernel.bpf.image import KernelCall
from clew.kernel.errors import KernelError

from .conftest import compile_object

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct nf_conn { int unseen; };
struct options { int namespace, error; __u8 protocol, rest[3]; };
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *, struct bpf_sock_tuple *, __u32, struct options *, __u32)
	__ksym;
extern void bpf_ct_release(struct nf_conn *) __ksym;
struct { __uint(type, 1); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); } apart SEC(".maps");
SEC("tc") int look(struct __sk_buff *skb)
{
	struct options options = {-1, 0, FUNCTION_ARGUMENT};
	struct bpf_sock_tuple tuple = {};
	struct nf_conn *found = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
	if (found) {
		bpf_ct_release(found);
		return 99;
	}
	return -options.error;
}
char L[] SEC("license") = "GPL";
"""
FRAME = bytes.fromhex("02000000000102000000000208004500") + bytes(50)


def built(folder: Path, protocol: int) -> bpf.Image:
    source = folder / "some.bpf.c"
    source.write_text(SOURCE.replace("FUNCTION_ARGUMENT", str(protocol)))
    return bpf.parse("some", compile_object(source, folder / "some.o"))


def test_an_object_says_which_functions_of_the_kernel_it_calls(tmp_path: Path) -> None:
    image = built(tmp_path, 17)
    assert [call.function for call in image.programs["look"].kernel_calls] == ["bpf_skb_ct_lookup", "bpf_ct_release"]


@pytest.mark.root
@pytest.mark.parametrize(("protocol", "said"), [(17, errno.ENOENT), (132, errno.EPROTO)])
def test_a_program_calls_connection_tracking(tmp_path: Path, protocol: int, said: int) -> None:
    """No flow is there; of a protocol that it does not know, tracking says so."""
    subprocess.run(["modprobe", "-q", "nf_conntrack"], check=False)  # built in on some kernels
    with bpf.load(built(tmp_path, protocol)) as loaded:
        assert loaded.programs["look"].test_run(FRAME).verdict == said


@pytest.mark.root
def test_a_function_that_the_kernel_lacks_is_named() -> None:
    with (
        pytest.raises(KernelError, match="bpf_no_such_thing") as refused,
        kernel_types.kernel_functions({"bpf_no_such_thing"}),
    ):
        pass
    assert refused.value.number == errno.ENOENT


def test_calls_are_given_the_number_and_the_module() -> None:
    functions = kernel_types.KernelFunctions(
        {"f": kernel_types.KernelFunction(7, "vmlinux"), "g": kernel_types.KernelFunction(9, "nf")}, {"nf": 3}
    )
    linked = functions.link(bytes.fromhex("8510000000000000" * 2), [KernelCall(0, "f"), KernelCall(1, "g")])
    assert linked == bytes.fromhex("85200000070000008520010009000000")


TASK = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile __u32 at = 0;
SEC("tc") int look(struct __sk_buff *skb)
{
	__u32 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)bpf_get_current_task() + at);
	return word & 0x7fffffff;
}
char L[] SEC("license") = "GPL";
"""


@pytest.mark.root
def test_places_in_structs_are_where_the_kernel_has_them(tmp_path: Path) -> None:
    """The name of the running task, read at the place that is said to be its."""
    source = tmp_path / "task.bpf.c"
    source.write_text(TASK)
    image = bpf.parse("task", compile_object(source, tmp_path / "task.o"))
    types = bpf.KernelTypes()
    with bpf.load(image, constants={"at": types.offset("task_struct", "comm")}, types=types) as loaded:
        found = loaded.programs["look"].test_run(FRAME).verdict
    assert found.to_bytes(4, "little") == Path("/proc/thread-self/comm").read_bytes()[:4]
    with pytest.raises(KernelError) as refused:
        types.offset("task_struct", "no_such_member")
    assert refused.value.absent


def test_types_of_a_module_continue_those_of_the_kernel(tmp_path: Path) -> None:
    """A kernel with an int and a struct of it, and a module whose struct has the kernel's inside, without a name."""
    strings = b"\0int\0base\0low\0high\0"
    integer = pack("<IIII", 1, 1 << 24, 4, 32)
    base = pack("<III", 5, 4 << 24 | 2, 8) + pack("<III", 10, 1, 0) + pack("<III", 14, 1, 32)
    (tmp_path / "vmlinux").write_bytes(described(integer + base, strings))
    more = b"\0outer\0first\0f\0"
    start = len(strings)
    outer = pack("<III", start + 1, 4 << 24 | 2, 12) + pack("<III", start + 7, 1, 0) + pack("<III", 0, 2, 32)
    prototype = pack("<III", 0, 13 << 24, 1)
    function = pack("<III", start + 13, 12 << 24, 4)
    (tmp_path / "module").write_bytes(described(outer + prototype + function, more))
    types = bpf.KernelTypes(tmp_path)
    assert types.offset("base", "high") == 4
    assert types.offset("outer", "high", modules=["absent", "module"]) == 8
    assert types.function("f", ["module"]) == kernel_types.KernelFunction(5, "module")


def described(types: bytes, strings: bytes) -> bytes:
    return pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


@pytest.mark.root
def test_a_program_is_found_by_its_id_with_its_maps_and_those_bound_to_it(tmp_path: Path) -> None:
    with bpf.load(built(tmp_path, 17)) as loaded:
        program = loaded.programs["look"]
        assert program.map_ids() == []
        program.bind(loaded.maps["apart"])
        loaded.maps["apart"].update(pack("=I", 3), pack("=I", 5))
        again = bpf.Program.by_id(program.id, "tc")
        assert (again.name, again.tag, again.section) == ("look", program.tag, "tc")
        found = bpf.KernelMap.by_id(again.map_ids()[0])
        assert (found.name, found.id) == ("apart", again.map_ids()[0])
        assert unpack("=I", found.lookup(pack("=I", 3)) or b"") == (5,)
        found.close()
        again.close()
    with pytest.raises(KernelError) as refused:
        bpf.KernelMap.by_id((1 << 31) - 1)
    assert refused.value.absent
