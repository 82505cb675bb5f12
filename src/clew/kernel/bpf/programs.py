"""An image brought into the kernel: its maps made, its programs checked by the verifier, each open as a descriptor.

What is loaded lives as long as something holds it: a descriptor here, or what it is attached to.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from struct import Struct, pack_into, unpack_from
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from clew.base.value import Value
from clew.kernel.bpf import syscall
from clew.kernel.bpf.errors import BadObject
from clew.kernel.bpf.held import Held
from clew.kernel.bpf.image import TO_MAP, TO_MAP_VALUE, Image, MapSpec, ProgramSpec
from clew.kernel.bpf.kernel_types import KernelFunctions, KernelTypes, kernel_functions
from clew.kernel.bpf.maps import KernelMap
from clew.kernel.errors import KernelError

LOAD = Struct(
    "=IIQQIIQII16sII"
)  # kind, instructions, code, license, log level, size, log, version, flags, name, 0, attach
TEST = Struct("=IIIIQQIIIIQQ")  # program, result, in, out, data in, out, repeat, duration, context in, out, contexts
FUNCTIONS = Struct("=48xQ")  # behind LOAD: descriptors of the modules whose functions are called
INFO_LENGTH = 208
INFO_ID, INFO_TAG, INFO_MAPS, INFO_NAME, INFO_RUN_TIME = 4, 8, 52, 64, 192  # offsets into bpf_prog_info
MAPS = Struct("=IQ")  # at INFO_MAPS: how many, and where their ids are wanted
MOST_MAPS = 64  # that the kernel lets a program have
ARRAY, READ_ONLY = 2, 0x80
LOG_LENGTH = 1 << 20
LOG_LINES = 12
SO_NETNS_COOKIE = 71

_SOCK_ADDR = 18
KINDS = {  # section: (BPF_PROG_TYPE_*, what it is attached as, BPF_*)
    "tc": (3, 0),
    "cgroup/sock_release": (9, 34),
    "cgroup/connect4": (_SOCK_ADDR, 10),
    "cgroup/connect6": (_SOCK_ADDR, 11),
    "cgroup/sendmsg4": (_SOCK_ADDR, 14),
    "cgroup/sendmsg6": (_SOCK_ADDR, 15),
    "cgroup/recvmsg4": (_SOCK_ADDR, 19),
    "cgroup/recvmsg6": (_SOCK_ADDR, 20),
    "cgroup/getpeername4": (_SOCK_ADDR, 29),
    "cgroup/getpeername6": (_SOCK_ADDR, 30),
}


class TestRun(Value):
    """What a program did with a packet that never was on a wire."""

    verdict: int
    packet: bytes


class Program(Held):
    def __init__(self, fd: int, name: str, section: str = "") -> None:
        super().__init__(fd)
        self.name = name
        self.section = section
        info = self._info()
        self.id = int(unpack_from("=I", info, INFO_ID)[0])
        self.tag = info[INFO_TAG : INFO_TAG + 8].hex()  # the code's digest: equal code, equal tag

    @classmethod
    def by_id(cls, number: int, section: str = "") -> Self:
        """The program with this id, as filters and cgroups tell it; KernelError ENOENT where there is none."""
        asked = Struct("=III").pack(number, 0, 0)
        made = cls(syscall.call(syscall.PROG_GET_FD_BY_ID, asked, f"open the BPF program {number}")[0], "", section)
        made.name = made._info()[INFO_NAME : INFO_NAME + 16].rstrip(b"\0").decode()
        return made

    def map_ids(self) -> list[int]:
        """The maps that it uses, and those that are bound to it."""
        held = (ctypes.c_uint32 * MOST_MAPS)()
        info = bytearray(INFO_LENGTH)
        MAPS.pack_into(info, INFO_MAPS, MOST_MAPS, ctypes.addressof(held))
        count, _where = MAPS.unpack_from(self._info(bytes(info)), INFO_MAPS)
        return list(held[:count])

    def bind(self, each: KernelMap) -> None:
        """Let a map that it does not use live as long as the program does."""
        packed = Struct("=III").pack(self.fd, each.fd, 0)
        syscall.call(syscall.PROG_BIND_MAP, packed, f"bind the BPF map {each.name} to {self.name}")

    def run_time(self) -> tuple[int, int]:
        """(nanoseconds, runs) since it was loaded, while statistics were on."""
        nanoseconds, runs = unpack_from("=QQ", self._info(), INFO_RUN_TIME)
        return nanoseconds, runs

    def test_run(self, packet: bytes, *, repeat: int = 1) -> TestRun:
        """Hand `packet`, an Ethernet frame, to a program of traffic control. Redirects are not carried out."""
        given = ctypes.create_string_buffer(packet, len(packet))
        back = ctypes.create_string_buffer(len(packet) + 4096)
        lengths = (len(packet), len(back))
        packed = TEST.pack(self.fd, 0, *lengths, ctypes.addressof(given), ctypes.addressof(back), repeat, 0, 0, 0, 0, 0)
        _result, done = syscall.call(syscall.PROG_TEST_RUN, packed, f"try the program {self.name}")
        _fd, verdict, _length, length = TEST.unpack(done)[:4]
        return TestRun(verdict, back.raw[:length])

    def _info(self, asked_for: bytes = bytes(INFO_LENGTH)) -> bytes:
        info = ctypes.create_string_buffer(asked_for, INFO_LENGTH)
        asked = Struct("=IIQ").pack(self.fd, INFO_LENGTH, ctypes.addressof(info))
        syscall.call(syscall.OBJ_GET_INFO, asked, f"look at the program {self.name}")
        return info.raw


class Loaded:
    """An image's maps and programs in the kernel; maps that were handed in stay their owner's to close."""

    def __init__(
        self, maps: Mapping[str, KernelMap], programs: Mapping[str, Program], own: tuple[KernelMap, ...]
    ) -> None:
        self.maps = maps
        self.programs = programs
        self._own = own

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for program in self.programs.values():
            program.close()
        for each in self._own:
            each.close()


def load(
    image: Image,
    *,
    entries: Mapping[str, int] | None = None,
    constants: Mapping[str, int] | None = None,
    maps: Mapping[str, KernelMap] | None = None,
    types: KernelTypes | None = None,
) -> Loaded:
    """Make the maps, with `entries` for the size of some and `maps` in place of others, and load every program.

    `constants` are unsigned numbers for `const volatile` variables; `types` spare reading them once more. KernelError
    carries the verifier's last lines; then nothing stays loaded.
    """
    given = dict(maps or {})
    made: dict[str, KernelMap] = {}
    programs: dict[str, Program] = {}
    try:
        for name, spec in image.maps.items():
            if name not in given:
                made[name] = KernelMap.create(replace(spec, entries=(entries or {}).get(name, spec.entries)))
        for name in image.sections:
            made[name] = _constants(image, name, constants or {})
        every = made | given
        called = {call.function for program in image.programs.values() for call in program.kernel_calls}
        with kernel_functions(called, types) as functions:
            for name, program in image.programs.items():
                programs[name] = _load(program, image.license, every, functions)
    except BaseException:
        Loaded(made, programs, tuple(made.values())).close()
        raise
    return Loaded({name: each for name, each in every.items() if name in image.maps}, programs, tuple(made.values()))


def _constants(image: Image, section: str, values: Mapping[str, int]) -> KernelMap:
    """A section of constants as the kernel knows one: a map of one entry that nobody writes again."""
    content = bytearray(image.sections[section])
    for name, value in values.items():
        if name not in image.constants:
            raise BadObject(f"{image.name} has no constant {name}")
        place = image.constants[name]
        if place.section == section:
            content[place.offset : place.offset + place.size] = value.to_bytes(place.size, "little")
    made = KernelMap.create(MapSpec(section.lstrip("."), ARRAY, 4, len(content), 1, READ_ONLY))
    try:
        made.update(bytes(4), bytes(content))
        made.freeze()
    except BaseException:
        made.close()
        raise
    return made


def _load(spec: ProgramSpec, license_text: bytes, maps: Mapping[str, KernelMap], functions: KernelFunctions) -> Program:
    if spec.section not in KINDS:
        raise BadObject(f"{spec.name}: the loader knows no section {spec.section}")
    linked = functions.link(_with_descriptors(spec, maps), spec.kernel_calls)
    code = ctypes.create_string_buffer(linked, len(spec.code))
    granted = ctypes.create_string_buffer(license_text)
    try:
        fd = _attempt(spec, code, granted, None, functions)
    except KernelError as refusal:
        log = ctypes.create_string_buffer(LOG_LENGTH)
        try:
            fd = _attempt(spec, code, granted, log, functions)
        except KernelError:
            said = log.value.decode(errors="replace").strip().splitlines()[-LOG_LINES:]
            detail = "\n".join([os.strerror(refusal.number), *said])
            raise KernelError(refusal.number, f"load the program {spec.name}", detail=detail) from refusal
    return Program(fd, spec.name, spec.section)


def _attempt(
    spec: ProgramSpec,
    code: "ctypes.Array[ctypes.c_char]",
    granted: "ctypes.Array[ctypes.c_char]",
    log: "ctypes.Array[ctypes.c_char] | None",
    functions: KernelFunctions,
) -> int:
    kind, attached = KINDS[spec.section]
    verbose = (1, LOG_LENGTH) if log is not None else (0, 0)
    packed = LOAD.pack(
        kind, len(spec.code) // 8, ctypes.addressof(code), ctypes.addressof(granted),
        *verbose, syscall.address_of(log), 0, 0, syscall.kernel_name(spec.name), 0, attached,
    )  # fmt: skip
    if spec.kernel_calls:
        packed += FUNCTIONS.pack(functions.modules_at)
    return syscall.call(syscall.PROG_LOAD, packed, f"load the program {spec.name}")[0]


def _with_descriptors(spec: ProgramSpec, maps: Mapping[str, KernelMap]) -> bytes:
    code = bytearray(spec.code)
    for each in spec.references:
        place = 8 * each.instruction
        source = TO_MAP_VALUE if each.constant else TO_MAP
        code[place + 1] = code[place + 1] & 15 | source << 4
        pack_into("<i", code, place + 4, maps[each.name].fd)
        pack_into("<i", code, place + 12, each.offset)
    return bytes(code)


@contextmanager
def statistics() -> Iterator[None]:
    """The kernel counts every program's runs and time while this is open; it costs each run 20 to 40 ns."""
    fd = syscall.call(syscall.ENABLE_STATS, Struct("=I").pack(0), "count the runs of BPF programs")[0]
    try:
        yield
    finally:
        os.close(fd)


def netns_cookie() -> int:
    """The number by which programs know the calling thread's network namespace; never given twice until a reboot."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        return int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")


def missing() -> str:
    """What keeps this process from using BPF at all, in one sentence; empty where nothing does."""
    try:
        KernelMap.create(MapSpec("clew_probe", ARRAY, 4, 4, 1)).close()
    except KernelError as refusal:
        if refusal.number == errno.EPERM:
            return "loading BPF programs needs the capabilities CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN)"
        return f"this kernel has no BPF: {refusal}"
    return ""
