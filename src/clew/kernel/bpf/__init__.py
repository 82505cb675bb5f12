"""eBPF: compiled objects read, loaded and attached by bpf(2) itself; maps as ports with a stand-in for tests.

    with bpf.load(bpf.image("services"), entries={"frontends": 65536}) as loaded:
        loaded.maps["frontends"].update(key, value)
        bpf.hold(loaded.programs["connect4"], Path("/sys/fs/cgroup"))

The sources are in bpf/ at the root of the repository; the build hook compiles them. No library is needed at run time.
Programs run on Linux 6.1 and later: held by cgroups, and by devices as clsact filters. Nothing is pinned.
"""

from clew.kernel.bpf.attach import attach_tc, detach_tc, held, hold, release
from clew.kernel.bpf.errors import BadObject
from clew.kernel.bpf.fake import FakeMap
from clew.kernel.bpf.image import Image, MapSpec, ProgramSpec, image, parse
from clew.kernel.bpf.kernel_types import KernelTypes
from clew.kernel.bpf.maps import KernelMap
from clew.kernel.bpf.port import Map
from clew.kernel.bpf.programs import Loaded, Program, TestRun, load, missing, netns_cookie, statistics

__all__ = [
    "BadObject",
    "FakeMap",
    "Image",
    "KernelMap",
    "KernelTypes",
    "Loaded",
    "Map",
    "MapSpec",
    "Program",
    "ProgramSpec",
    "TestRun",
    "attach_tc",
    "detach_tc",
    "held",
    "hold",
    "image",
    "load",
    "missing",
    "netns_cookie",
    "parse",
    "release",
    "statistics",
]
