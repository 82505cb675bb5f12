"""What bench/ipvs measures, run under the kernel that has IPVS: `python -m bench.ipvs_inside COUNT TOOLS`, JSON out."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import measured, median, resident
from bench.service_load import ENDPOINTS, Ours, pod, vip
from clew.kernel import netns
from clew.kernel.ipvs import missing
from clew.kernel.netlink import Netlink
from clew.kernel.netlink.requests import SetLink
from clew.reconcile import Turn

CHANGES = 20


def namespace(path: Path) -> None:
    netns.create(path)
    with Netlink(path) as links:
        links.request([SetLink("lo", up=True)])  # IPVS takes no address where nothing was ever routed


def servers(numbers: Iterable[int]) -> Iterator[str]:
    for number in numbers:
        yield f"-A -t {vip(number)}:80 -s rr"
        for index in range(ENDPOINTS):
            yield f"-a -t {vip(number)}:80 -r {pod(number, index)}:8080 -m -w 1"


def restore(path: Path, tools: Path, lines: Iterable[str]) -> None:
    program = tools / "sbin/ipvsadm"
    libraries = f"{tools}/lib/x86_64-linux-gnu:{tools}/usr/lib/x86_64-linux-gnu"
    subprocess.run(
        ["nsenter", f"--net={path}", program, "-R"],
        input="".join(f"{line}\n" for line in lines).encode(),
        env={"LD_LIBRARY_PATH": libraries, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        check=True,
    )


def ours(folder: Path, count: int) -> dict[str, float]:
    path = folder / "ours"
    namespace(path)
    try:
        proxy = Ours(path, "ipvs")
        _, whole = proxy.load(count)
        idle = median(measured(proxy.sync).cpu for _ in range(20))
        changes = [(number * 7 % count, 3 if number % 2 else 2) for number in range(CHANGES)]
        one = median(measured(lambda a=at, b=size: proxy.change(a, b)).cpu for at, size in changes)  # type: ignore[misc]
        look = measured(lambda: proxy.sync(Turn.PERIODIC)).cpu
        return {"whole": whole, "one": one * 1e3, "idle": idle * 1e3, "look": look, "memory": resident()}
    finally:
        netns.delete(path)


def restored(folder: Path, tools: Path, count: int) -> dict[str, float]:
    path = folder / "restored"
    namespace(path)
    try:
        whole = measured(lambda: restore(path, tools, servers(range(count)))).cpu
        one = median(
            measured(
                lambda n=number: restore(path, tools, [f"-d -t {vip(n)}:80 -r {pod(n, 3)}:8080"])  # type: ignore[misc]
            ).cpu
            for number in range(min(CHANGES, count))
        )
        return {"whole restored": whole, "one restored": one * 1e3}
    finally:
        netns.delete(path)


def main(count: int, tools: Path) -> None:
    lacking = missing()
    if lacking:
        sys.exit(lacking)
    with TemporaryDirectory() as name:
        found = ours(Path(name), count) | restored(Path(name), tools, count)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
