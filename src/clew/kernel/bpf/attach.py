"""Programs attached: to a cgroup, to a device's clsact discipline as a filter.

Both stay until they are removed, or the cgroup or the device ends: a dead agent's programs go on.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from clew.kernel.bpf import syscall
from clew.kernel.bpf.programs import KINDS, Program
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Delete, RtNetlink, clsact
from clew.kernel.netlink.values import Direction, Filter

ATTACH = Struct("=IIIII")  # target, program, attached as, flags, former program
QUERY = Struct("=IIIIQII")  # target, attached as, flags, flags found, ids, how many, 0
ALLOW_MULTI, REPLACE = 2, 4
MOST = 64  # programs at one place of a cgroup, as the kernel has it


def hold(program: Program, cgroup: Path, former: Program | None = None) -> None:
    """Call the program for what the sockets of the processes in `cgroup` (a folder of cgroup v2) and below do.

    Several programs at one place are all called, those of deeper cgroups first. The cgroup holds the program until
    `release` or its own end; in place of `former`, where that is given, no call falls between them.
    """
    flags = ALLOW_MULTI | (REPLACE if former else 0)
    with _folder(cgroup) as target:
        packed = ATTACH.pack(target, program.fd, KINDS[program.section][1], flags, former.fd if former else 0)
        syscall.call(syscall.PROG_ATTACH, packed, f"attach {program.name} to {program.section} of {cgroup}")


def release(program: Program, cgroup: Path) -> None:
    """Undo `hold`. What is not there is no error."""
    with _folder(cgroup) as target:
        packed = ATTACH.pack(target, program.fd, KINDS[program.section][1], 0, 0)
        number = syscall.attempt(syscall.PROG_DETACH, packed)[1]
    if number not in {0, errno.ENOENT, errno.EINVAL}:
        raise KernelError(number, f"detach {program.name} from {program.section} of {cgroup}")


def held(cgroup: Path, section: str) -> list[Program]:
    """The programs at one place of a cgroup itself, not of those above it; the caller closes them."""
    ids = (ctypes.c_uint32 * MOST)()
    with _folder(cgroup) as target:
        packed = QUERY.pack(target, KINDS[section][1], 0, 0, ctypes.addressof(ids), MOST, 0)
        done = syscall.call(syscall.PROG_QUERY, packed, f"look at {section} of {cgroup}")[1]
    found = []
    for number in ids[: QUERY.unpack(done)[5]]:
        with contextlib.suppress(KernelError):  # it may go meanwhile
            found.append(Program.by_id(number, section))
    return found


@contextlib.contextmanager
def _folder(cgroup: Path) -> Iterator[int]:
    try:
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"open the cgroup {cgroup}") from problem
    try:
        yield target
    finally:
        os.close(target)


def attach_tc(program: Program, kernel: RtNetlink, dev: str, direction: Direction, *, priority: int) -> None:
    """Call the program for every packet that comes in from or goes out to a device, over one of that priority."""
    answer = kernel.attempt([Add(clsact(dev))])[0]
    if answer is not None and not answer.exists:
        raise answer
    kernel.request([Add(Filter(dev, direction, priority, name=program.name, program=program.fd), replace=True)])


def detach_tc(kernel: RtNetlink, dev: str, direction: Direction, *, priority: int) -> None:
    """Remove the filter, and the discipline with the last one. What is not there is no error."""
    answer = kernel.attempt([Delete(Filter(dev, direction, priority))])[0]
    if answer is not None and not answer.absent and answer.number != errno.EINVAL:
        raise answer
    if clsact(dev) in kernel.qdiscs() and not (kernel.filters(dev) or kernel.redirects(dev)):
        answer = kernel.attempt([Delete(clsact(dev))])[0]
        if answer is not None and not answer.absent and answer.number != errno.EINVAL:
            raise answer
