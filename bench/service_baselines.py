"""A chain per service, loaded by the kernel's own tools: what the benchmarks of services compare with."""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.figures import measured, median
from bench.service_load import ENDPOINTS, pod, vip
from clew.kernel import netns


class Cost(NamedTuple):
    """Seconds of CPU from empty, and for one service more."""

    whole: float
    one: float


def _nft_chains(numbers: Iterable[int]) -> Iterator[str]:
    for number in numbers:
        for index in range(ENDPOINTS):
            yield f"add chain ip kp ep-{number}-{index}"
            yield f"add rule ip kp ep-{number}-{index} ip saddr {pod(number, index)} jump mark-masq"
            yield f"add rule ip kp ep-{number}-{index} meta l4proto tcp dnat to {pod(number, index)}:8080"
        ways = ", ".join(f"{index} : goto ep-{number}-{index}" for index in range(ENDPOINTS))
        yield f"add chain ip kp svc-{number}"
        yield f"add rule ip kp svc-{number} ip saddr != 10.128.0.0/9 jump mark-masq"
        yield f"add rule ip kp svc-{number} numgen random mod {ENDPOINTS} vmap {{ {ways} }}"
        yield f"add element ip kp services {{ {vip(number)} . tcp . 80 : goto svc-{number} }}"


def _nft_script(count: int) -> str:
    return "\n".join(
        [
            "add table ip kp",
            "add map ip kp services { type ipv4_addr . inet_proto . inet_service : verdict; }",
            "add chain ip kp mark-masq",
            "add rule ip kp mark-masq meta mark set meta mark | 0x4000",
            "add chain ip kp pre { type nat hook prerouting priority -100; }",
            "add rule ip kp pre ip daddr . meta l4proto . th dport vmap @services",
            *_nft_chains(range(count)),
        ]
    )


def _iptables_chains(numbers: Iterable[int]) -> Iterator[str]:
    """As kube-proxy writes them, without comments."""
    for number in numbers:
        yield f":SVC-{number} - [0:0]"
        yield f"-A SVC-{number} ! -s 10.128.0.0/9 -d {vip(number)}/32 -p tcp -m tcp --dport 80 -j MARK-MASQ"
        for index in range(ENDPOINTS):
            yield f":SEP-{number}-{index} - [0:0]"
            yield f"-A SEP-{number}-{index} -s {pod(number, index)}/32 -j MARK-MASQ"
            yield f"-A SEP-{number}-{index} -p tcp -m tcp -j DNAT --to-destination {pod(number, index)}:8080"
            left = ENDPOINTS - index
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
            yield f"-A SVC-{number} {chance}-j SEP-{number}-{index}"


def _iptables_script(count: int, chains: Iterable[int]) -> str:
    """These services' chains, and the hub with all of them, which kube-proxy writes anew for every change."""
    hub = [f"-A SERVICES -d {vip(at)}/32 -p tcp -m tcp --dport 80 -j SVC-{at}" for at in range(count)]
    head = ["*nat", ":SERVICES - [0:0]", ":MARK-MASQ - [0:0]", "-A MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"]
    return "\n".join([*head, *_iptables_chains(chains), *hub, "COMMIT", ""])


def _run(ns: Path, command: str, script: str) -> None:
    subprocess.run(["nsenter", f"--net={ns}", *command.split()], input=script.encode(), check=True)


def _cost(path: Path, command: str, whole: Callable[[], str], more: Callable[[int], str]) -> Cost:
    netns.create(path)
    try:
        first = whole()
        cost = measured(lambda: _run(path, command, first)).cpu
        scripts = [more(at) for at in range(5)]
        return Cost(cost, median(measured(lambda text=each: _run(path, command, text)).cpu for each in scripts))  # type: ignore[misc]
    finally:
        netns.delete(path)


def nft(folder: Path, count: int) -> Cost:
    return _cost(
        folder / "baseline-nft",
        "nft -f -",
        lambda: _nft_script(count),
        lambda at: "\n".join(_nft_chains([count + at])),
    )


def iptables(folder: Path, count: int) -> Cost:
    return _cost(
        folder / "baseline-iptables",
        "iptables-legacy-restore --noflush",
        lambda: _iptables_script(count, range(count)),
        lambda at: _iptables_script(count + at + 1, [count + at]),
    )
