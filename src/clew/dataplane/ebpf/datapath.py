"""The programs in the kernel of one network namespace, and the maps that they read: loaded, attached, found again.

Nothing is pinned. The node's control group holds the programs for sockets, each device the one for packets, and the
programs hold the maps; so everything ends with the node, and a restarted agent finds its maps through what is attached.
Ours by the names of programs and the priority of filters. Used by apply alone; both families share one.
"""

import contextlib
import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from clew.dataplane.ebpf import facility
from clew.dataplane.ebpf.layout import IMAGE, NAMES
from clew.dataplane.ebpf.objects import Device, Surface
from clew.kernel import bpf, netns
from clew.kernel.bpf import Loaded, Map, Program
from clew.kernel.bpf.image import Image
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Bridge, Link, Netlink

PRIORITY = 50  # of our filters, beside which others have theirs
OURS = "clew_"
PACKETS, KEEPER = "clew_services", "clew_connect4"
TRACKING = ("nf_conntrack",)  # the module with connection tracking's types, where it is one


class Datapath(Protocol):
    """What apply needs of the kernel."""

    @property
    def maps(self) -> Mapping[str, Map]:
        """By name; after `open` or `find`."""
        ...

    def find(self) -> None:
        """Have the maps of programs that are attached, to read them. KernelError where there are none."""
        ...

    def open(self) -> None:
        """Have programs and maps: those of an earlier agent where they fit, else new ones, not attached yet."""
        ...

    def attach(self, devices: Iterable[Device]) -> int:
        """Attach what is not; how many that were."""
        ...

    def intact(self, devices: Iterable[Device]) -> bool:
        """Whether everything is attached. What was found wanting is attached by the next `attach`."""
        ...

    def surface(self) -> Surface: ...

    def remove(self) -> None:
        """Take everything of ours out of the kernel, whoever put it there."""
        ...

    def close(self) -> None: ...


class KernelDatapath:
    def __init__(self, where: Path | None) -> None:
        self._where = where
        self._netlink: Netlink | None = None
        self._loaded: Loaded | None = None
        self._foreign: list[bpf.KernelMap] = []  # maps of an earlier agent's, ours to close
        self._held = False
        self._guarded: set[int] = set()  # devices that have the filter
        self._right: dict[int, bool] = {}  # programs by id: whether it is ours, with our maps

    @property
    def maps(self) -> Mapping[str, Map]:
        if self._loaded is not None:
            return self._loaded.maps
        if not self._foreign:
            raise KernelError(errno.ENOENT, "find the BPF maps of services")
        return {each.name: each for each in self._foreign}

    def find(self) -> None:
        if self._loaded is None and not self._foreign:
            self._foreign = list(self._earlier_maps(facility.cgroup(self._where)).values())

    def open(self) -> None:
        if self._loaded is not None:
            return
        group = facility.cgroup(self._where)
        if self._where is not None:
            group.mkdir(exist_ok=True)
        self._close_maps()
        image = bpf.image(IMAGE)
        found = self._earlier_maps(group)
        fits = {name: each for name, each in found.items() if image.maps.get(name) == each.spec}
        kept = fits if fits.keys() == image.maps.keys() else {}
        for each in found.values():
            if each not in kept.values():
                each.close()
        self._foreign = list(kept.values())
        self._loaded = self._load(image, kept)
        self._held = False
        self._guarded.clear()
        self._right.clear()

    def attach(self, devices: Iterable[Device]) -> int:
        programs = self._programs()
        done = 0
        wanted = {device.index: device.name for device in devices if device.guarded}
        self._guarded &= wanted.keys()
        for index in wanted.keys() - self._guarded:
            with contextlib.suppress(_GoneError):
                done += self._guard(wanted[index], programs[PACKETS])
                self._guarded.add(index)
        if not self._held:  # after the devices: where somebody refuses this place, packets are served all the same
            done += self._hold(programs)
            self._held = True
        return done

    def intact(self, devices: Iterable[Device]) -> bool:
        group, programs = facility.cgroup(self._where), self._programs()
        with contextlib.suppress(KernelError):
            self._held = self._held and all(
                self._find(group, program) for program in programs.values() if program.name != PACKETS
            )
        guarded = {device.index: device.name for device in devices if device.guarded}
        for index in guarded.keys() & self._guarded:
            if not self._has_filter(guarded[index]):
                self._guarded.discard(index)
        return self._held and guarded.keys() == self._guarded

    def surface(self) -> Surface:
        kernel = self._kernel()
        links = kernel.links()
        bridges = {link.name for link in links if isinstance(link.detail, Bridge)}
        devices = tuple(sorted((_device(link, bridges) for link in links), key=lambda device: device.index))
        addresses = tuple(sorted({each.address.partition("/")[0] for each in kernel.addresses()}))
        return Surface(devices, addresses, self._cookie())

    def remove(self) -> None:
        self.close()
        with contextlib.suppress(KernelError):  # without cgroup v2 nothing of ours is there
            group = facility.cgroup(self._where)
            for section in _sections():
                for program in _held(group, section):
                    bpf.release(program, group)
                    program.close()
            if self._where is not None:
                with contextlib.suppress(OSError):  # somebody is in it
                    group.rmdir()
        with Netlink(self._where) as kernel:
            guarded = {qdisc.dev for qdisc in kernel.qdiscs() if qdisc.kind == "clsact"}
            for dev in guarded:
                if any(each.priority == PRIORITY and each.name.startswith(OURS) for each in kernel.filters(dev)):
                    bpf.detach_tc(kernel, dev, "ingress", priority=PRIORITY)

    def close(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None
        self._close_maps()
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def _close_maps(self) -> None:
        for each in self._foreign:
            each.close()
        self._foreign = []

    def _kernel(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink(self._where)
        return self._netlink

    def _cookie(self) -> int:
        return bpf.netns_cookie() if self._where is None else netns.run_in(self._where, bpf.netns_cookie)

    def _programs(self) -> Mapping[str, Program]:
        if self._loaded is None:
            raise KernelError(errno.ENOENT, "find the BPF programs of services")
        return self._loaded.programs

    def _load(self, image: Image, maps: Mapping[str, bpf.KernelMap]) -> Loaded:
        types = bpf.KernelTypes()
        state_at = types.offset("nf_conn", "proto", "tcp", "state", modules=TRACKING)
        loaded = bpf.load(image, maps=maps, constants={"tcp_state_at": state_at}, types=types)
        loaded.programs[KEEPER].bind(loaded.maps[NAMES])  # no program reads it, and it has to last as they do
        return loaded

    def _earlier_maps(self, group: Path) -> dict[str, bpf.KernelMap]:
        """The maps of programs of ours that are attached."""
        found: dict[str, bpf.KernelMap] = {}
        for program in self._attached(group):
            for number in program.map_ids():
                each = bpf.KernelMap.by_id(number)
                if each.name in found:
                    each.close()
                else:
                    found[each.name] = each
            program.close()
        constants = found.pop("rodata", None)  # each load has its own
        if constants is not None:
            constants.close()
        return found

    def _attached(self, group: Path) -> Iterator[Program]:
        for section in _sections():
            yield from _held(group, section)
        for qdisc in self._kernel().qdiscs():
            if qdisc.kind == "clsact":
                for each in self._kernel().filters(qdisc.dev):
                    if each.priority == PRIORITY and each.name.startswith(OURS):
                        with contextlib.suppress(KernelError):
                            yield Program.by_id(each.program_id)

    def _hold(self, programs: Mapping[str, Program]) -> int:
        """Attach the programs for sockets, each in the place of a former one."""
        group, done = facility.cgroup(self._where), 0
        for program in programs.values():
            if program.name == PACKETS:
                continue
            former = list(_held(group, program.section))
            right = next((each for each in former if self._is_as(each, program)), None)
            if right is None:
                bpf.hold(program, group, former[0] if former else None)
                done += 1
            for each in former:
                if each is not right and (right or each is not former[0]):
                    bpf.release(each, group)
                each.close()
        return done

    def _find(self, group: Path, program: Program) -> bool:
        """Whether the group holds the program, or its like of an earlier agent."""
        found = False
        for each in _held(group, program.section):
            found = found or self._is_as(each, program)
            each.close()
        return found

    def _is_as(self, each: Program, program: Program) -> bool:
        return each.tag == program.tag and self._is_right(each.id)

    def _guard(self, dev: str, program: Program) -> int:
        if self._has_filter(dev):
            return 0
        try:
            bpf.attach_tc(program, self._kernel(), dev, "ingress", priority=PRIORITY)
        except KernelError as refused:
            if refused.absent:
                raise _GoneError from refused
            raise
        return 1

    def _has_filter(self, dev: str) -> bool:
        tag = self._programs()[PACKETS].tag
        return any(
            each.priority == PRIORITY and each.direction == "ingress" and each.tag == tag
            for each in self._kernel().filters(dev)
            if self._is_right(each.program_id)
        )

    def _is_right(self, program_id: int) -> bool:
        """Whether a program has our maps."""
        if program_id not in self._right:
            ours = {program.id for program in self._programs().values()}
            self._right[program_id] = program_id in ours or self._reads_our_maps(program_id)
        return self._right[program_id]

    def _reads_our_maps(self, program_id: int) -> bool:
        try:
            program = Program.by_id(program_id)
        except KernelError:
            return False
        ours = {each.id for each in self._foreign}
        try:
            return bool(ours.intersection(program.map_ids()))
        finally:
            program.close()


class _GoneError(Exception):
    """A device went while it was looked at."""


def _sections() -> list[str]:
    return [program.section for program in bpf.image(IMAGE).programs.values() if program.section != "tc"]


def _held(group: Path, section: str) -> Iterator[Program]:
    """Programs of ours in the group itself, to be closed."""
    for program in bpf.held(group, section):
        if program.name.startswith(OURS):
            yield program
        else:
            program.close()


def _device(link: Link, bridges: set[str]) -> Device:
    shown = link.master if link.master in bridges else link.name
    return Device(link.index, link.name, shown, guarded=link.name != "lo" and link.name not in bridges)
