"""Objects read, loaded, run and attached; what is wrong with one is said by name."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from struct import pack, unpack

import pytest

from clew.kernel import bpf, netns
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Bridge, Link, Netlink

from .conftest import compile_object

FRAME = bytes(64)


def counted(loaded: bpf.Loaded) -> list[int]:
    return [unpack("=Q", value)[0] for _, value in sorted(loaded.maps["counts"].items())]


def test_an_object_says_what_is_in_it(probe: bpf.Image) -> None:
    assert probe.maps["things"] == bpf.MapSpec("things", 1, key_size=8, value_size=24, entries=100)
    assert {each.name: each.section for each in probe.programs.values()} == {"look": "tc", "refuse": "cgroup/connect4"}
    assert set(probe.constants) == {"verdict", "port"}
    assert probe.license == b"GPL\0"


@pytest.mark.parametrize("content", [b"", b"\x7fELF", Path("/bin/true").read_bytes()])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(bpf.BadObject, match="some is no BPF object"):
        bpf.parse("some", content)


VARIABLE = 'int state = 1; SEC("tc") int f(struct __sk_buff *s) { return state++; }'
CALLBACK = """
static int one(int i, void *c) { return 0; }
SEC("tc") int f(struct __sk_buff *s) { bpf_loop(3, one, 0, 0); return 0; }
"""
KERNEL_STRUCT = """
struct task_struct { int pid; } __attribute__((preserve_access_index));
SEC("tc") int f(struct __sk_buff *s) { return ((struct task_struct *)(long)s->mark)->pid; }
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (VARIABLE, r"variables \(\.data\)"),
        (CALLBACK, "takes the address of something in .text"),
        (KERNEL_STRUCT, "CO-RE"),
    ],
)
def test_what_the_loader_does_not_provide_for_is_refused_by_name(body: str, said: str, tmp_path: Path) -> None:
    source = tmp_path / "some.bpf.c"
    source.write_text(
        f'#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n{body}\nchar L[] SEC("license") = "GPL";\n'
    )
    with pytest.raises(bpf.BadObject, match=said):
        bpf.parse("some", compile_object(source, tmp_path / "some.o"))


def test_programs_that_were_not_built_are_asked_for_by_their_package() -> None:
    with pytest.raises(KernelError, match="install clang and libbpf-dev") as refused:
        bpf.image("no-such")
    assert refused.value.number == errno.ENOENT


@pytest.mark.root
def test_a_program_runs_with_its_maps_constants_and_functions(probe: bpf.Image) -> None:
    with bpf.load(probe, entries={"things": 5}, constants={"verdict": 7, "port": 9}) as loaded:
        assert loaded.maps["things"].capacity == 5
        assert loaded.programs["look"].test_run(FRAME).verdict == 7
        assert counted(loaded) == [1, 1, 0, 0]
        loaded.maps["things"].update(pack("=IHH", 64, 9, 0), pack("=QQQ", 1, 5, 3))
        assert loaded.programs["look"].test_run(FRAME) == bpf.TestRun(5, FRAME)
        assert counted(loaded) == [1, 1, 0, 1]


@pytest.mark.root
def test_a_map_can_be_another_loads(probe: bpf.Image) -> None:
    with bpf.load(probe) as first:
        with bpf.load(probe, maps={"counts": first.maps["counts"]}) as second:
            second.programs["look"].test_run(FRAME)
            assert first.programs["look"].tag == second.programs["look"].tag
        assert counted(first) == [1, 1, 0, 0]


@pytest.mark.root
def test_what_the_verifier_refuses_comes_with_its_words_and_nothing_stays(tmp_path: Path) -> None:
    source = tmp_path / "wild.bpf.c"
    body = 'SEC("tc") int wild(struct __sk_buff *s) { return *(int *)(long)s->data_end; }'
    source.write_text(
        f'#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n{body}\nchar L[] SEC("license") = "GPL";\n'
    )
    image = bpf.parse("wild", compile_object(source, tmp_path / "wild.o"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KernelError, match=r"invalid access|R1 invalid mem|pkt_end") as refused:
        bpf.load(image)
    assert "load the program wild" in str(refused.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.root
def test_statistics_count_runs(probe: bpf.Image) -> None:
    with bpf.load(probe) as loaded, bpf.statistics():
        program = loaded.programs["look"]
        before = program.run_time()
        program.test_run(FRAME, repeat=100)
        after = program.run_time()
    assert after[1] - before[1] == 100
    assert after[0] > before[0]


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "ns"
    netns.create(path)
    yield path
    netns.delete(path)


@pytest.mark.root
def test_a_filter_hangs_on_a_device_until_it_is_removed(probe: bpf.Image, namespace: Path) -> None:
    with Netlink(namespace) as kernel, bpf.load(probe) as loaded:
        kernel.request([Add(Link("br0", Bridge(), up=True))])
        for _ in range(2):  # the second time over the first
            bpf.attach_tc(loaded.programs["look"], kernel, "br0", "ingress", priority=7)
        bpf.attach_tc(loaded.programs["look"], kernel, "br0", "egress", priority=7)
        seen = [(each.direction, each.priority, each.name, each.program_id, each.tag) for each in kernel.filters("br0")]
        program = loaded.programs["look"]
        assert seen == [(way, 7, "look", program.id, program.tag) for way in ("ingress", "egress")]
        bpf.detach_tc(kernel, "br0", "ingress", priority=7)
        bpf.detach_tc(kernel, "br0", "ingress", priority=7)
        assert [each.direction for each in kernel.filters("br0")] == ["egress"]
        bpf.detach_tc(kernel, "br0", "egress", priority=7)
        assert [each.kind for each in kernel.qdiscs() if each.dev == "br0"] == ["noqueue"]
        bpf.detach_tc(kernel, "gone", "egress", priority=7)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of our own, with this process in none of it."""
    root = next(Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines() if " cgroup2 " in line)
    path = root / f"clew-test-{os.getpid()}"
    path.mkdir()
    yield path
    path.rmdir()


def try_to_connect(cgroup: Path, namespace: Path, port: int) -> int:
    """The errno of a connection from within a cgroup and a namespace; 0 for none."""
    program = (
        f"open('{cgroup}/cgroup.procs', 'w').write('0'); import socket; "
        f"print(socket.socket().connect_ex(('127.0.0.1', {port})))"
    )
    command = ["nsenter", f"--net={namespace}", "python3", "-c", program]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.root
def test_a_cgroup_holds_a_program_itself_until_it_is_released(probe: bpf.Image, cgroup: Path, namespace: Path) -> None:
    place = "cgroup/connect4"
    with bpf.load(probe, constants={"port": 4242}) as loaded:
        first = loaded.programs["refuse"]
        bpf.hold(first, cgroup)
        ours = bpf.Program.by_id(first.id, place)
    assert try_to_connect(cgroup, namespace, 4242) == errno.ECONNREFUSED
    with bpf.load(probe, constants={"port": 1}) as other:
        second = other.programs["refuse"]
        bpf.hold(second, cgroup, ours)
        assert try_to_connect(cgroup, namespace, 1) == errno.ECONNREFUSED
        found = bpf.held(cgroup, place)
        assert [(each.id, each.name, each.section) for each in found] == [(second.id, "refuse", place)]
        for _ in range(2):
            bpf.release(second, cgroup)
        assert bpf.held(cgroup, place) == []
        for each in (*found, ours):
            each.close()
    with pytest.raises(KernelError, match="open the cgroup"):
        bpf.held(cgroup / "gone", place)


@pytest.mark.root
def test_a_programs_maps_are_found_by_their_numbers(probe: bpf.Image) -> None:
    with bpf.load(probe) as loaded:
        numbers = {number for program in loaded.programs.values() for number in program.map_ids()}
        found = [bpf.KernelMap.by_id(number) for number in numbers]
        assert probe.maps["things"] in [each.spec for each in found]
        for each in found:
            each.close()
    with pytest.raises(KernelError) as absent:
        bpf.KernelMap.by_id(2**32 - 1)
    assert absent.value.absent


@pytest.mark.root
def test_a_namespace_has_its_own_cookie(namespace: Path) -> None:
    there = netns.run_in(namespace, bpf.netns_cookie)
    assert there not in {0, bpf.netns_cookie()}
    assert there == netns.run_in(namespace, bpf.netns_cookie)
    assert bpf.missing() == ""
