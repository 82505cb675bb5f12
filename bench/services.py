"""The service proxy in each mode that this kernel has, facts to kernel, against a chain per service loaded by its tool.

All program the same services with four endpoints each into a network namespace of their own, from empty, and then
change one of them. The baseline is kube-proxy's layout, a chain a service and one an endpoint, loaded by `nft -f`, for
the modes that write iptables rules by `iptables-restore --noflush`. What `nft -f` needs grows faster than the number
of services, a minute at 10,000: it is measured with half of them and doubled, which is less than the truth. Figures are
CPU (user and system, of the process and its children).
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import service_baselines
from bench.figures import Figure, Say, measured, median, resident, scaled
from bench.service_load import Ours
from clew.base.errors import WorldError
from clew.kernel import netns
from clew.node import proxy_modes
from clew.reconcile import Turn

CHANGES = 100
SLOW_CHANGES = 5  # of modes whose changes take a second
RESTORED = {"iptables", "userspace"}  # modes that hand over iptables tables
GOALS = {"nftables": (1.5, 5.0), "ebpf": (1.0, 5.0), "iptables": (6.0, 1200.0)}  # s from empty, ms for one change


def measure(mode: str, path: Path, count: int) -> dict[str, float]:
    """Seconds of CPU for each step, in this process; memory in MiB."""
    netns.create(path)
    proxy = Ours(path, mode)
    try:
        decoding, whole = proxy.load(count)
        idle = median(measured(proxy.sync).cpu for _ in range(20))
        many = SLOW_CHANGES if mode in RESTORED else CHANGES
        changes = [(number * 7 % count, 3 if number % 2 else 2) for number in range(many)]
        one = median(measured(lambda a=at, b=size: proxy.change(a, b)).cpu for at, size in changes)  # type: ignore[misc]
        after = median(measured(proxy.sync).cpu for _ in range(20))
        looks = [measured(lambda: proxy.sync(Turn.PERIODIC)).cpu for _ in range(2)]
        return {
            "decode": decoding, "whole": whole, "idle": idle, "one": one, "after": after, "look": looks[1],
            "memory": resident(),
        }  # fmt: skip
    except WorldError as refused:
        raise RuntimeError(str(refused)) from None  # one that can cross to another process
    finally:
        proxy.close()
        netns.delete(path)


def ours(mode: str, folder: Path, count: int) -> dict[str, float]:
    """The same in a process of its own, so that memory is of this mode alone."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, mode, folder / f"{mode}-{count}", count).result()


def figures(scale: float, say: Say) -> Iterator[Figure]:
    """At a tenth, the whole and three times 10,000 services."""
    count = scaled(10_000, scale, 10)
    with TemporaryDirectory() as name:
        folder = Path(name)
        say("the baselines")
        half = scaled(count, 0.5)
        one_half = service_baselines.nft(folder, half)
        chains = {
            f"nft -f, a chain a service: twice {half:,}": service_baselines.Cost(*(2 * each for each in one_half))
        }
        restored = {"iptables-restore, a chain a service": service_baselines.iptables(folder, count)}
        for mode in proxy_modes.MODES:
            if proxy_modes.MODES[mode].missing(None):
                say(f"{mode}: not on this kernel")
                continue
            against, base = next(iter((restored if mode in RESTORED else chains).items()))
            yield from _mode(mode, folder, count, against, base, say)


def _mode(
    mode: str, folder: Path, count: int, against: str, base: service_baselines.Cost, say: Say
) -> Iterator[Figure]:
    at = f"{mode}, {count:,} services"
    whole_goal, one_goal = GOALS.get(mode, (None, None))
    say(f"{at}: a tenth of them first, to see what grows")
    small = ours(mode, folder, scaled(count, 0.1, 3))
    mine = ours(mode, folder, count)
    yield Figure(f"{at}: from empty to kernel", mine["whole"], "s", base.whole, against, goal=whole_goal)
    change = mine["one"] * 1e3
    yield Figure(f"{at}: one slice changed, bytes to kernel", change, "ms", base.one * 1e3, against, goal=one_goal)
    yield Figure(f"{at}: the process", mine["memory"], "MiB", goal=250)
    yield Figure(f"{at}: documents decoded into facts", mine["decode"], "s")
    yield Figure(
        f"{at}: a sync with nothing to do, after churn", mine["after"] * 1e6, "µs", mine["idle"] * 1e6, "before"
    )
    yield Figure(f"{at}: periodic look at the kernel", mine["look"] * 1e3, "ms")
    many = f"{mode}, {3 * count:,} services"
    say(many)
    try:
        big = ours(mode, folder, 3 * count)
    except RuntimeError as refused:
        say(f"{many}: not on this machine: {refused}")
        return
    yield Figure(f"{many}: from empty to kernel", big["whole"], "s")
    yield Figure(f"{many}: one slice changed", big["one"] * 1e3, "ms", small["one"] * 1e3, "at a thirtieth")
    yield Figure(f"{many}: the process", big["memory"], "MiB")
