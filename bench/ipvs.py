"""The service proxy in IPVS mode, facts to kernel, against `ipvsadm -R` of the same change in the same kernel.

Where this machine's kernel has no IPVS both run in the vm lane's guest, whose processor is emulated: ratios hold there,
times do not. `ipvsadm` makes virtual and real servers only; the proxy also decodes, compiles, fills the sets, puts
every address on the device, and looks whether a server still has connections before it lets it go.
"""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.packages import unpacked

from bench import in_guest
from bench.figures import Figure, Say, measured, median, resident, scaled
from bench.service_load import ENDPOINTS, Ours, pod, vip
from clew.kernel import netns
from clew.kernel.ipvs import missing
from clew.kernel.netlink import Netlink
from clew.kernel.netlink.requests import SetLink
from clew.reconcile import Turn

PACKAGES = ("ipvsadm", "libpopt0", "libnl-3-200", "libnl-genl-3-200")
AGAINST = "ipvsadm -R"
CHANGES = 20


def figures(scale: float, say: Say) -> Iterator[Figure]:
    """10,000 services of four endpoints each."""
    for package in PACKAGES:
        unpacked(package)  # the guest has no network
    if missing():
        yield from in_guest.measured("ipvs", scale, say)
        return
    count = scaled(10_000, scale, 10)
    at = f"{count:,} services"
    with TemporaryDirectory() as name:
        restored = _restored(Path(name, "restored"), count, say)
        yield from _ours(Path(name, "ours"), at, count, restored, say)


def _restored(path: Path, count: int, say: Say) -> tuple[float, list[float]]:
    """Seconds of CPU for all of it, and for one real server less, and then one more."""
    namespace(path)
    try:
        say("the baseline: ipvsadm")
        whole = measured(lambda: _restore(path, _servers(range(count)))).cpu
        ends = _changed(count)
        fewer = median(_each(ends, lambda n: _restore(path, [f"-d {_real(n, ENDPOINTS - 1)}"])))
        more = median(_each(ends, lambda n: _restore(path, [f"-a {_real(n, ENDPOINTS - 1)} -m -w 1"])))
        return whole, [fewer, more]
    finally:
        netns.delete(path)


def _ours(path: Path, at: str, count: int, restored: tuple[float, list[float]], say: Say) -> Iterator[Figure]:
    namespace(path)
    try:
        say(f"{at} from empty")
        proxy = Ours(path, "ipvs")
        _, whole = proxy.load(count)
        yield Figure(f"{at}: from empty to kernel", whole, "s", restored[0], AGAINST)
        idle = median(measured(proxy.sync).cpu for _ in range(20))
        say("one change after the other")
        for what, endpoints, base in zip(("less", "more"), (ENDPOINTS - 1, ENDPOINTS), restored[1], strict=True):
            one = median(_each(_changed(count), lambda n, size=endpoints: proxy.change(n, size)))  # type: ignore[misc]
            said = f"{at}: one endpoint {what}, bytes to kernel"
            yield Figure(said, one * 1e3, "ms", base * 1e3, f"{AGAINST} of the same change")
        after = median(measured(proxy.sync).cpu for _ in range(20))
        yield Figure(f"{at}: a sync with nothing to do, after churn", after * 1e6, "µs", idle * 1e6, "before")
        yield Figure(f"{at}: the process", resident(), "MiB", goal=250)
        say("looking at what others did")
        yield Figure(f"{at}: periodic look at the kernel", measured(lambda: proxy.sync(Turn.PERIODIC)).cpu, "s")
    finally:
        say("taking it away")
        netns.delete(path)


def _changed(count: int) -> list[int]:
    """The services that change, all of them different."""
    return [number * (count // min(CHANGES, count)) for number in range(min(CHANGES, count))]


def _each(numbers: Iterable[int], change: Callable[[int], object]) -> list[float]:
    return [measured(lambda n=number: change(n)).cpu for number in numbers]  # type: ignore[misc]


def namespace(path: Path) -> None:
    netns.create(path)
    with Netlink(path) as links:
        links.request([SetLink("lo", up=True)])  # IPVS takes no address where nothing was ever routed


def _real(number: int, index: int) -> str:
    return f"-t {vip(number)}:80 -r {pod(number, index)}:8080"


def _servers(numbers: Iterable[int]) -> Iterator[str]:
    for number in numbers:
        yield f"-A -t {vip(number)}:80 -s rr"
        for index in range(ENDPOINTS):
            yield f"-a {_real(number, index)} -m -w 1"


def _restore(path: Path, lines: Iterable[str]) -> None:
    program = unpacked("ipvsadm") / "sbin/ipvsadm"
    places = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
    environment = {"LD_LIBRARY_PATH": ":".join(f"{unpacked(each)}/{place}" for each in PACKAGES for place in places)}
    text = "".join(f"{line}\n" for line in lines).encode()
    netns.run_in(path, lambda: subprocess.run([program, "-R"], input=text, env=environment, check=True))
