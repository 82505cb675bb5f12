"""Cluster DNS answered at pods' links by a BPF program, against the server's worker that would answer otherwise.

A pod's namespace asks by dnsperf through a veth pair: services' addresses of both families, search-path misses,
headless services, SRV. Once the server answers everything, once the program what it can. CPU is the worker's user and
system time, and the program's run time by the kernel's statistics. Then, in a lab: how soon a change shows.
"""

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from threading import Event
from typing import Any

import uvloop
from tests.packages import PackageError

from bench import dns as whole
from bench.figures import Figure, Say, cpu, measured, median, scaled
from bench.labs import BenchLab, lab
from clew.api.kinds import ENDPOINT_SLICE, SERVICE
from clew.dataplane.dns_fast_path import render
from clew.dataplane.dns_fast_path.apply import FastPathPlane
from clew.dataplane.dns_fast_path.objects import Outcome
from clew.facts import namespace, service
from clew.ir.names import KnownZone, NameServer
from clew.kernel import bpf, netns
from clew.kernel.netlink import Add, Link, Netlink, Peer, Veth
from clew.node.fast_names import FastNames, by_namespace
from clew.store.table import Table
from clew.watch.client import Client

VIP, POD, NODE = "10.96.0.10", "10.244.1.5", "10.244.1.1"
PORT = 53
LINK = "pod0"
TIMES = 40  # changes in a lab
TARGET = 100.0  # ms


@contextlib.contextmanager
def node(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A node's namespace and a pod's, joined by a pair of links."""
    spaces = folder / "node", folder / "pod"
    try:
        for each in spaces:
            netns.create(each)
        other = os.open(spaces[0], os.O_RDONLY | os.O_CLOEXEC)
        with Netlink(spaces[1]) as inside:
            inside.request([Add(Link("eth0", Veth(Peer(LINK, other)), up=True))])
        os.close(other)
        for line in (
            f"link set {LINK} up", "link set lo up", f"address add {NODE}/24 dev {LINK}", f"address add {VIP} dev lo",
        ):  # fmt: skip
            subprocess.run(["nsenter", f"--net={spaces[0]}", "ip", *line.split()], check=True)
        for line in (f"address add {POD}/24 dev eth0", f"route add default via {NODE}"):
            subprocess.run(["nsenter", f"--net={spaces[1]}", "ip", *line.split()], check=True)
        yield spaces
    finally:
        for each in spaces:
            netns.delete(each)


async def serve(folder: Path, count: int) -> None:
    """The measured server, in the node's namespace: `python -m bench.dns_fast_path FOLDER SERVICES`."""
    async with whole.program(folder, PORT, VIP) as made:
        whole.fill(made, count)
        whole.settle()
        await asyncio.Event().wait()


@contextlib.contextmanager
def server(spaces: tuple[Path, Path], folder: Path, count: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "bench.dns_fast_path", str(folder), str(count)]
    process = subprocess.Popen(["nsenter", f"--net={spaces[0]}", *command], cwd=whole.ROOT)
    try:
        deadline = time.monotonic() + 60
        while not _answers(spaces[1]):
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline
        yield process
    finally:
        process.terminate()
        process.wait(10)


def question(name: str, kind: int = 1) -> bytes:
    wire = b"".join(bytes((len(each),)) + each.encode() for each in name.split("."))
    return bytes.fromhex("beef01000001000000000000") + wire + b"\0" + kind.to_bytes(2) + b"\0\1"


def _answers(pod: Path) -> bool:
    with netns.socket_in(pod, socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        try:
            client.sendto(question("service-1.team-1.svc.cluster.local"), (VIP, PORT))
            return client.recv(512)[3] & 15 == 0
        except OSError:
            return False


def ask(spaces: tuple[Path, Path], programs: whole.Programs, data: Path, seconds: float) -> tuple[int, float]:
    """How many questions dnsperf asked, and the seconds of CPU it took."""
    fixed = ("-s", VIP, "-p", str(PORT), "-d", str(data), "-e", "-T", "1", "-t", "1", "-c", "4", "-q", "100")
    command = ["nsenter", f"--net={spaces[1]}", str(programs.paths["dnsperf"]), *fixed, "-l", f"{seconds:.1f}"]
    before = cpu()
    done = subprocess.run(command, env=programs.environment, check=True, capture_output=True, text=True, timeout=120)
    assert "timed out" not in done.stderr
    return int(re.findall(r"Queries completed:\s+(\d+)", done.stdout)[0]), cpu() - before


def names(count: int) -> tuple[FastNames, Table[service.Service]]:
    services: Table[service.Service] = Table("services")
    spaces: Table[namespace.Namespace] = Table("namespaces")
    spaces.replace({("", f"team-{number}"): namespace.Namespace(f"team-{number}") for number in range(20)})
    facts = dict(service.decode(whole.service_bytes(number)) for number in range(count))
    services.replace({key: fact for key, fact in facts.items() if fact is not None})
    return FastNames(KnownZone("cluster.local", 30, "bench"), services, spaces, by_namespace(services)), services


def forever() -> int:
    return time.monotonic_ns() + 10**12


def filled(plane: FastPathPlane, known: FastNames) -> None:
    plane.want_zone(render.zone(known.zone), ())
    for key, entry in known.feed().items():
        plane.want_name(key, entry)
    plane.want_servers([render.server(NameServer(VIP, PORT, "bench"))])
    plane.sync(forever(), 1)


def maps(count: int, what: str) -> Iterator[Figure]:
    """What it costs to fill them, and to change one name of them."""
    with Netlink() as kernel:
        plane = FastPathPlane(kernel)
        known, services = names(count)
        used = measured(lambda: filled(plane, known))
        times = []
        for turn in range(400):
            key = (f"team-{turn % 20}", f"service-{turn % 20 + 20 * (turn % 5)}")
            fact = services.get(key)
            began = time.process_time()
            services.put(key, None if turn % 2 else fact)
            for each, entry in known.feed().items():
                plane.want_name(each, entry)
            plane.sync(forever(), turn)
            times.append(time.process_time() - began)
            services.put(key, fact)
        plane.want_zone(None)
        plane.sync(0, 0)
    yield Figure(f"{what}: into the maps, CPU", used.cpu, "s")
    yield Figure(f"{what}: one change, CPU", median(times) * 1e6, "µs")


def answers(folder: Path, programs: whole.Programs, scale: float, say: Say) -> Iterator[Figure]:
    count, seconds = scaled(whole.SERVICES, scale, 30), max(6 * scale, 0.4)
    data = folder / "questions"
    data.write_text("\n".join(whole.questions(count)) + "\n")
    with node(folder) as spaces, server(spaces, folder, count) as process, Netlink(spaces[0]) as kernel:
        plane = FastPathPlane(kernel)
        say(f"the server alone: {count} services, {seconds:.0f} s")
        ask(spaces, programs, data, seconds / 4)
        before = whole.process_cpu(process.pid)
        asked, alone = ask(spaces, programs, data, seconds)
        worker = whole.process_cpu(process.pid) - before
        plane.want_links([LINK])
        filled(plane, names(count)[0])
        say("with the program")
        ask(spaces, programs, data, seconds / 4)
        before, counted = whole.process_cpu(process.pid), plane.counts()
        asked2, together = ask(spaces, programs, data, seconds)
        rest = whole.process_cpu(process.pid) - before
        counts = {each: number - counted[each] for each, number in plane.counts().items()}
        say("with the program, its time taken")
        assert plane.program is not None
        with bpf.statistics():
            before_time, before_runs = plane.program.run_time()
            ask(spaces, programs, data, seconds / 2)
            after_time, after_runs = plane.program.run_time()
        plane.remove()
    each, total, total2 = worker / asked, (worker + alone) / asked, (rest + together) / asked2
    run = (after_time - before_time) / (after_runs - before_runs) / 1e9
    hits = sum(number for outcome, number in counts.items() if outcome.answered)
    against = "the server's worker"
    yield Figure(
        "CPU a question, answered or passed on by the program", run * 1e6, "µs", each * 1e6, against, each * 2e5
    )
    yield Figure("questions that the program answered", 100 * hits / sum(counts.values()), "%")
    yield Figure("· of these, names that do not exist", 100 * counts[Outcome.NXDOMAIN] / max(hits, 1), "%")
    yield Figure("CPU a question, asker and server and program", total2 * 1e6, "µs", total * 1e6, "without the program")
    yield Figure(
        "questions a second, one asker", asked2 / seconds, "questions", asked / seconds, "without it", more=True
    )


# -- how soon a change shows ------------------------------------------------------------------------------------------


def _pod_namespace(at: BenchLab) -> Path:
    """Of a pod that has a network of its own."""
    found = [pid for pid in at.processes()["containers"] if b"1234567" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return Path(f"/proc/{found[0]}/ns/net")


class Asker:
    """Asks from within a pod until the answer has an address."""

    def __init__(self, space: Path) -> None:
        self.socket = netns.socket_in(space, socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(1)
        self.socket.connect((VIP, PORT))

    def until(self, name: str, address: str) -> float:
        """The moment at which the answer ends with it."""
        raw, end, pause = question(name), time.monotonic() + 10, Event()
        while time.monotonic() < end:
            pause.wait(0.0005)  # whoever has to bring the change about needs the processor
            self.socket.send(raw)
            with contextlib.suppress(TimeoutError):
                if self.socket.recv(512).endswith(ip_address(address).packed):
                    return time.monotonic()
        raise AssertionError(f"{name} has not become {address}")


async def changes(at: BenchLab, times: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the API server's answer to the DNS answer: new services, and changed endpoints."""
    asker = Asker(_pod_namespace(at))
    services, endpoints = [], []
    async with Client.from_kubeconfig(str(at.folder / "config")) as client:
        spec: dict[str, Any] = {"clusterIP": "None", "ports": [{"name": "x", "port": 80}]}
        await client.create(SERVICE, {"metadata": {"name": "moving", "namespace": "default"}, "spec": spec})
        part: dict[str, Any] = {
            "metadata": {
                "name": "moving", "namespace": "default", "labels": {"kubernetes.io/service-name": "moving"},
            },
            "addressType": "IPv4", "ports": [{"name": "x", "port": 80}], "endpoints": [{"addresses": ["10.244.9.1"]}],
        }  # fmt: skip
        await client.create(ENDPOINT_SLICE, part)
        for turn in range(times):
            made = {"metadata": {"name": f"new-{turn}", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
            created = await client.create(SERVICE, made)
            began = time.monotonic()
            name = f"new-{turn}.default.svc.cluster.local"
            seen = await asyncio.to_thread(asker.until, name, created["spec"]["clusterIP"])
            services.append((seen - began) * 1e3)
            address = f"10.244.9.{2 + turn % 200}"
            await client.patch(ENDPOINT_SLICE, "moving", {"endpoints": [{"addresses": [address]}]}, "default")
            began = time.monotonic()
            seen = await asyncio.to_thread(asker.until, "moving.default.svc.cluster.local", address)
            endpoints.append((seen - began) * 1e3)
    asker.socket.close()
    return services, endpoints


def soon(scale: float, say: Say) -> Iterator[Figure]:
    say("a lab of one node with the fast path")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "lab.yaml")
        file.write_text("kind: Lab\nnodes: 1\ndns: {fastPath: ebpf}\n")
        with lab(1, "--config", str(file)) as at:
            at.run("kubectl", "run", "asker", "--image=busybox", "--command", "--", "sleep", "1234567")
            at.run("kubectl", "wait", "--for=condition=Ready", "pod/asker", "--timeout=60s")
            services, endpoints = asyncio.run(changes(at, scaled(TIMES, scale, 3)))
    for what, times in (("a new service (pod's link)", services), ("a changed endpoint (server)", endpoints)):
        yield Figure(f"{what}: from the API's answer to the DNS answer", median(times), "ms", goal=TARGET)
        yield Figure("· the slowest", max(times), "ms", goal=TARGET)


def figures(scale: float, say: Say) -> Iterator[Figure]:
    large = scaled(10_000, scale, 100)
    yield from maps(large, f"{large} services")
    with tempfile.TemporaryDirectory() as name:
        try:
            yield from answers(Path(name), whole.Programs(), scale, say)
        except PackageError as wrong:
            say(f"no dnsperf to ask with: {wrong}")
    yield from soon(scale, say)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
