"""Cluster DNS against C servers with the same zone: nsd, knot and unbound, one worker each.

Each server gets the same names (services with a cluster IP and headless ones); dnsperf asks all of them the same
questions with EDNS: nine of ten for names that exist, the rest search-path misses. CPU is the server's in all.
Ours runs the default chain of plugins with metrics on. Then: how long and how much memory it takes to load a large
cluster, and what one change costs in a small and a large one.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvloop
from tests.packages import PackageError, unpacked

from bench.figures import Figure, Say, median, process_cpu, resident, scaled
from clew.app.dns import DnsOptions, Program
from clew.facts import endpointslice, namespace, service
from clew.watch.collector import collector_off, settle

PACKAGES = (
    "dnsperf", "nsd", "unbound", "knot", "libldns3", "libknot13", "libdnssec9", "libzscanner4", "liburcu8", "libxdp1",
    "libbpf1",
)  # fmt: skip
ROOT = Path(__file__).parents[1]
SERVICES = 1000
COREFILE = """.:{port} {{
    errors
    ready 127.0.0.1:0
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
        startup_timeout 0s
    }}
    prometheus 127.0.0.1:0
    forward . 127.0.0.1:9 {{
        max_concurrent 1000
    }}
    cache 30
    reload
    loadbalance
}}
"""


def vip(number: int) -> str:
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def pod(number: int, index: int) -> str:
    place = number * 5 + index
    return f"10.{128 + (place >> 16)}.{place >> 8 & 255}.{place & 255}"


def service_bytes(number: int) -> bytes:
    headless = number % 10 == 0
    ips = ["None"] if headless else [vip(number)]
    return json.dumps({
        "metadata": {"name": f"service-{number}", "namespace": f"team-{number % 20}", "resourceVersion": str(number)},
        "spec": {
            "type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": ips, "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }).encode()  # fmt: skip


def slice_bytes(number: int, endpoints: int = 5) -> bytes:
    return json.dumps({
        "metadata": {
            "name": f"service-{number}-abcde", "namespace": f"team-{number % 20}",
            "labels": {"kubernetes.io/service-name": f"service-{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [pod(number, index)], "nodeName": f"node-{index}", "zone": "a",
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "name": f"web-{number}-{index}", "namespace": f"team-{number % 20}"},
            }
            for index in range(endpoints)
        ],
    }).encode()  # fmt: skip


def questions(count: int) -> Iterator[str]:
    for number in range(count):
        team = f"team-{number % 20}.svc.cluster.local"
        name = f"service-{number}.{team}"
        yield f"{name} A"
        yield f"{name} AAAA"
        yield f"{name} A"
        if number % 10 == 0:
            yield f"_http._tcp.{name} SRV"
        if number % 3 == 0:
            yield f"www.example.com.{team} A"  # what a resolver asks on its way through the search path


def strangers(count: int) -> Iterator[str]:
    """Names that nobody asks for twice."""
    for number in range(count):
        yield f"host-{number}.example.com.team-{number % 20}.svc.cluster.local A"


def zone_file(count: int) -> Iterator[str]:
    yield "$ORIGIN cluster.local."
    yield "$TTL 30"
    yield "@ IN SOA ns.dns hostmaster 1 7200 1800 86400 30"
    yield "@ NS ns.dns"
    yield "ns.dns A 10.96.0.10"
    for number in range(count):
        name = f"service-{number}.team-{number % 20}.svc"
        if number % 10:
            yield f"{name} A {vip(number)}"
            yield f"_http._tcp.{name} SRV 0 100 80 {name}"
            continue
        for index in range(5):
            ip = pod(number, index)
            own = f"{ip.replace('.', '-')}.{name}"
            yield f"{name} A {ip}"
            yield f"{own} A {ip}"
            yield f"_http._tcp.{name} SRV 0 20 8080 {own}"


def fill(program: Program, count: int) -> tuple[float, float]:
    """The cluster into the program's tables, as its reflectors would; seconds of decoding, and of all the rest."""
    services, slices = ([make(number) for number in range(count)] for make in (service_bytes, slice_bytes))
    (feed,) = program.feeds.values()
    feed.namespaces.replace({("", f"team-{number}"): namespace.Namespace(f"team-{number}") for number in range(20)})
    with collector_off():
        began = time.process_time()
        facts = dict(service.decode(each) for each in services), dict(endpointslice.decode(each) for each in slices)
        decoded = time.process_time()
        feed.services.replace(facts[0])  # type: ignore[arg-type]  # none of these is left out
        feed.slices.replace(facts[1])  # type: ignore[arg-type]
        feed.feed()
    return decoded - began, time.process_time() - decoded


def kubeconfig(folder: Path) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
        "clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "users: [{name: x, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
    )
    return path


@contextlib.asynccontextmanager
async def program(folder: Path, port: int, host: str = "127.0.0.1") -> AsyncIterator[Program]:
    conf = folder / f"Corefile-{port}"
    conf.write_text(COREFILE.format(port=port))
    made = Program(DnsOptions(conf, host=host, kubeconfig=str(kubeconfig(folder))))
    running = asyncio.ensure_future(made.run())
    try:
        while not made.listeners:
            if running.done():
                await running
            await asyncio.sleep(0.01)
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await made.stop()


async def serve(folder: Path, port: int, count: int) -> None:
    """The measured process: `python -m bench.dns serve FOLDER PORT SERVICES`."""
    async with program(folder, port) as made:
        fill(made, count)
        settle()
        print("ready", flush=True)
        await asyncio.Event().wait()


class Programs:
    """The distribution's programs, unpacked and not installed."""

    def __init__(self) -> None:
        roots = {package: unpacked(package) for package in PACKAGES}
        self.paths = {name: roots[name] / where for name, where in (
            ("dnsperf", "usr/bin/dnsperf"), ("nsd", "usr/sbin/nsd"), ("knot", "usr/sbin/knotd"),
            ("unbound", "usr/sbin/unbound"),
        )}  # fmt: skip
        libraries = [str(path) for root in roots.values() for path in root.glob("usr/lib/*-linux-gnu")]
        self.environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def free_port() -> int:
    """One that is free for datagrams and streams, below those that clients of this machine are given meanwhile."""
    while True:
        port = random.randrange(20_000, 30_000)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
            return port


def commands(folder: Path, programs: Programs, count: int, port: dict[str, int]) -> dict[str, list[str]]:
    """How each server is started on its port; configuration is written on the way."""
    zone = folder / "cluster.zone"
    zone.write_text("\n".join(zone_file(count)) + "\n")
    (folder / "nsd.conf").write_text(f"""server:
  ip-address: 127.0.0.1@{port["nsd"]}
  server-count: 1
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd"
  zonelistfile: "{folder}/zones.list"
  xfrdir: "{folder}"
  database: ""
remote-control:
  control-enable: no
zone:
  name: cluster.local
  zonefile: {zone}
""")
    (folder / "unbound.conf").write_text(f"""server:
  interface: 127.0.0.1@{port["unbound"]}
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  do-daemonize: no
  module-config: "iterator"
auth-zone:
  name: cluster.local
  zonefile: {zone}
  for-downstream: yes
""")
    (folder / "knot.conf").write_text(f"""server:
  listen: 127.0.0.1@{port["knot"]}
  udp-workers: 1
  rundir: {folder}
database:
  storage: {folder}
zone:
  - domain: cluster.local
    file: {zone}
    zonefile-sync: -1
    journal-content: none
""")
    return {
        "clew": [sys.executable, "-m", "bench.dns", "serve", str(folder), str(port["clew"]), str(count)],
        "nsd": [str(programs.paths["nsd"]), "-d", "-c", str(folder / "nsd.conf")],
        "knot": [str(programs.paths["knot"]), "-c", str(folder / "knot.conf")],
        "unbound": [str(programs.paths["unbound"]), "-d", "-c", str(folder / "unbound.conf")],
    }


def answers(port: int) -> bool:
    query = bytes.fromhex("1234010000010000000000000776657273696f6e0462696e640000100003")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        try:
            sock.sendto(query, ("127.0.0.1", port))
            return len(sock.recv(512)) > 0
        except OSError:
            return False


@contextlib.contextmanager
def running(command: list[str], port: int, env: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None, command
            assert time.monotonic() < deadline, command
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def cpu(session: int) -> float:
    """Seconds of CPU of all processes of a session."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[3]) == session:
                total += process_cpu(int(path.parent.name))
    return total


def ask(programs: Programs, data: Path, port: int, *more: str) -> str:
    # -t: lost datagrams are waited for that long at the end, by default for five seconds
    fixed = ("-s", "127.0.0.1", "-p", str(port), "-d", data, "-e", "-T", "1", "-t", "1")
    command = [programs.paths["dnsperf"], *fixed, *more]
    done = subprocess.run(command, env=programs.environment, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout


def throughput(programs: Programs, data: Path, port: int, pid: int, seconds: float) -> tuple[float, float]:
    """Microseconds of the server's CPU a query, and queries a second."""
    ask(programs, data, port, "-l", f"{seconds / 4:.1f}", "-c", "4", "-q", "200")
    before = cpu(pid)
    out = ask(programs, data, port, "-l", f"{seconds:.1f}", "-c", "4", "-q", "200")
    used = cpu(pid) - before
    done = int(re.findall(r"Queries completed:\s+(\d+)", out)[0])
    return used / done * 1e6, float(re.findall(r"Queries per second:\s+([\d.]+)", out)[0])


def latency(programs: Programs, data: Path, port: int, seconds: float) -> tuple[float, float]:
    """Median and 99th percentile of the answer's time at 5,000 queries a second, in microseconds."""
    out = ask(programs, data, port, "-v", "-l", f"{seconds:.1f}", "-c", "4", "-Q", "5000")
    times = sorted(float(each) * 1e6 for each in re.findall(r"^> \w+ \S+ \w+ ([\d.]+)$", out, re.MULTILINE))
    return (median(times), times[len(times) * 99 // 100]) if times else (0.0, 0.0)


async def loading(folder: Path, count: int) -> None:
    """`python -m bench.dns load FOLDER SERVICES`: its memory is a process of its own; prints JSON."""
    async with program(folder, free_port()) as made:
        before = resident()
        decoding, rest = fill(made, count)
        held = resident()
        (feed,) = made.feeds.values()
        times = []
        for turn in range(400):
            raw = slice_bytes(turn * 7 % count, 1 + turn * 7 // count % 4)
            began = time.process_time()
            feed.slices.put(*endpointslice.decode(raw))
            feed.feed()
            times.append(time.process_time() - began)
    print(json.dumps({"load": decoding + rest, "memory": held, "before": before, "change": median(times)}))


def loaded(folder: Path, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.dns", "load", str(folder), str(count)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def servers(folder: Path, programs: Programs, scale: float, say: Say) -> Iterator[Figure]:
    count, seconds = scaled(SERVICES, scale, 30), max(6 * scale, 0.4)
    data = folder / "questions"
    data.write_text("\n".join(questions(count)) + "\n")
    port = {name: free_port() for name in ("clew", "nsd", "knot", "unbound")}
    each: dict[str, float] = {}
    late: dict[str, tuple[float, float]] = {}
    for name, command in commands(folder, programs, count, port).items():
        say(f"{name}: {count} services, {seconds:.0f} s")
        with running(command, port[name], programs.environment) as pid:
            each[name], _ = throughput(programs, data, port[name], pid, seconds)
            late[name] = latency(programs, data, port[name], seconds / 2)
            if name == "clew":
                first = folder / "strangers"
                first.write_text("\n".join(strangers(scaled(60_000, scale, 2000))) + "\n")
                before = cpu(pid)
                out = ask(programs, first, port[name], "-n", "1", "-c", "4", "-q", "100")
                unknown = (cpu(pid) - before) / int(re.findall(r"Queries completed:\s+(\d+)", out)[0])
    for other in ("nsd", "knot", "unbound"):
        yield Figure("CPU a query", each["clew"], "µs", each[other], other, each[other] * 1.5)
    yield Figure("CPU a query that nobody asked before", unknown * 1e6, "µs")
    yield Figure("queries a CPU second", 1e6 / each["clew"], "queries", goal=50_000, more=True)
    for other in ("nsd", "knot", "unbound"):
        yield Figure("99th percentile at 5,000 a second", late["clew"][1], "µs", late[other][1], other)


def figures(scale: float, say: Callable[[str], None]) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = scaled(10_000, scale, 100)
        small, whole = loaded(folder, 100), loaded(folder, large)
        what = f"{large} services with {large * 5} endpoints"
        yield Figure(f"{what}: from JSON to answers, CPU", whole["load"], "s", goal=3.0)
        yield Figure(f"{what}: memory of the process", whole["memory"], "MiB", goal=150)
        yield Figure(
            "one change, CPU", whole["change"] * 1e6, "µs", small["change"] * 1e6, "the same among 100 services"
        )
        try:
            programs = Programs()
        except PackageError as wrong:
            say(f"no servers to compare with: {wrong}")
            return
        yield from servers(folder, programs, scale, say)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", where, port_text, size_text]:
            uvloop.run(serve(Path(where), int(port_text), int(size_text)))
        case ["load", where, size_text]:
            uvloop.run(loading(Path(where), int(size_text)))
