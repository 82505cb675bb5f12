"""The stand-ins, run for real: overlay, binds and chroot in namespaces of the test's own, nothing else."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clew.cluster.images import Image, ImageService, OwnProgram

pytestmark = pytest.mark.root

Cells = Callable[[Image], Any]

# A name server of two names and their addresses, on the cell's own loopback: just enough of RFC 1035.
NAME_SERVER = """
import socket, struct
A = {"my-nginx.default.svc.cluster.local": "10.96.123.4", "kube-dns.kube-system.svc.cluster.local": "10.96.0.10"}
P = {"4.123.96.10.in-addr.arpa": "my-nginx.default.svc.cluster.local", "1.0.0.127.in-addr.arpa": "the.server"}
def wire(name): return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\\0"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    q, peer = s.recvfrom(512)
    at, labels = 12, []
    while q[at]:
        labels.append(q[at + 1 : at + 1 + q[at]].decode()); at += 1 + q[at]
    name, (kind,) = ".".join(labels).lower(), struct.unpack_from(">H", q, at + 1)
    data = b""
    if kind == 1 and name in A: data = socket.inet_aton(A[name])
    if kind == 12 and name in P: data = wire(P[name])
    known = name in A or name in P
    head = q[:2] + struct.pack(">HHHHH", 0x8580 if known else 0x8583, 1, bool(data), 0, 0)
    answer = b"\\xc0\\x0c" + struct.pack(">HHIH", kind, 1, 5, len(data)) + data if data else b""
    s.sendto(head + q[12 : at + 5] + answer, peer)
"""


def fetch(running: Any, url: str) -> subprocess.CompletedProcess[str]:
    """A page, once the server is there."""
    return running.beside("timeout", "60", "sh", "-c", 'until curl -s "$1"; do :; done', "sh", url)


async def test_pause_waits_reaps_and_leaves_at_once(images: ImageService, cell: Cells) -> None:
    image = await images.ensure("registry.k8s.io/pause:3.10", "Never")
    for number in (signal.SIGTERM, signal.SIGINT):
        pause = cell(image).start()
        pid = pause.inner_pid("pause")
        while not _waits(pid):  # it has only begun to be the program
            pass
        os.kill(pid, number)
        assert pause.wait() == 0


def _waits(pid: int) -> bool:
    """Whether it sleeps, and ignores SIGCHLD: the kernel reaps what is orphaned to it."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    return status["State"].startswith("S") and bool(int(status["SigIgn"], 16) >> (signal.SIGCHLD - 1) & 1)


async def test_busybox_is_a_shell_with_its_applets(images: ImageService, cell: Cells) -> None:
    box = cell(await images.ensure("busybox:1.36", "Never"))
    done = box.run("sh", "-c", "id -u; hostname >/dev/null && wget --help 2>&1 | head -1; ls /root /home /srv")
    assert done.stdout.startswith("0\nBusyBox v1")
    assert done.stdout.endswith("/home:\n\n/root:\n\n/srv:\n")


async def test_nginx_serves_logs_reloads_and_quits(images: ImageService, cell: Cells) -> None:
    nginx = cell(await images.ensure("nginx", "Never")).start()
    for address in ("127.0.0.1", "[::1]"):
        page = fetch(nginx, address)
        assert "<h1>Welcome to nginx!</h1>" in page.stdout, page.stderr
    processes = nginx.beside("ps", "-o", "pid,comm").stdout
    assert processes.count("nginx") == 2  # the master as PID 1 and one worker
    assert "1 nginx" in processes
    changed = nginx.beside(
        "sh",
        "-c",
        "echo mine > /usr/share/nginx/html/index.html && nginx -t && nginx -s reload && curl -s localhost:80",
    )
    assert changed.stdout == "mine\n", changed.stderr
    nginx.signal(signal.SIGQUIT)
    out, err = nginx.communicate()
    assert nginx.wait() == 0
    assert '"GET / HTTP/1.1" 200' in out
    assert "start worker process" in err


async def test_a_configuration_of_the_users_own(images: ImageService, cell: Cells) -> None:
    """A bare nginx.conf: what it does not say falls back to places that exist."""
    conf = "events{} http{ server { listen 81; return 200 own; } }"
    start = f"echo '{conf}' > /etc/nginx/nginx.conf; exec nginx -g 'daemon off;'"
    nginx = cell(await images.ensure("nginx:alpine", "Never")).start("sh", "-c", start)
    page = fetch(nginx, "127.0.0.1:81")
    assert page.stdout == "own"
    nginx.signal(signal.SIGQUIT)
    assert '"GET / HTTP/1.1" 200' in nginx.communicate()[0]


async def test_the_curl_shell_resolves_as_the_library_does(images: ImageService, cell: Cells) -> None:
    shell = cell(await images.ensure("radial/busyboxplus:curl", "IfNotPresent"))
    server = shell.start("/opt/python", "-IS", "-c", NAME_SERVER)
    server.read_line("ready")
    conf = "nameserver 127.0.0.1\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    server.beside("sh", "-c", f"printf '{conf}' > /etc/resolv.conf; echo 127.0.0.1 localhost > /etc/hosts")
    found = server.beside("sh", "-c", "nslookup my-nginx")
    assert found.stdout == (
        "Server:    127.0.0.1\nAddress 1: 127.0.0.1 localhost\n\n"
        "Name:      my-nginx\nAddress 1: 10.96.123.4 my-nginx.default.svc.cluster.local\n"
    )
    for name in ("kube-dns.kube-system", "kube-dns.kube-system.svc", "kube-dns.kube-system.svc.cluster.local"):
        dotted = server.beside("sh", "-c", f"nslookup {name}")
        assert f"Name:      {name}\nAddress 1: 10.96.0.10\n" in dotted.stdout
    missed = server.beside("sh", "-c", "nslookup nothing")
    assert (missed.returncode, missed.stderr) == (1, "nslookup: can't resolve 'nothing'\n")
    server.beside("sh", "-c", "echo 'nameserver 127.0.0.2' > /etc/resolv.conf")
    by_hand = server.beside("sh", "-c", "nslookup my-nginx.default.svc.cluster.local 127.0.0.1")
    assert "Address 1: 10.96.123.4 my-nginx.default.svc.cluster.local\n" in by_hand.stdout
    assert server.beside("curl", "-s", "file:///etc/hosts").stdout == "127.0.0.1 localhost\n"


async def test_the_curl_image_runs_curl_or_what_it_is_told(images: ImageService, cell: Cells) -> None:
    curl = cell(await images.ensure("curlimages/curl:8.10.1", "IfNotPresent"))
    for arguments in (
        ("-s", "file:///etc/nsswitch.conf"),
        ("file:///etc/nsswitch.conf",),
        ("curl", "file:///etc/nsswitch.conf"),
    ):
        assert "hosts: files dns" in curl.start(*arguments).communicate()[0]
    assert curl.start("echo", "told").communicate()[0] == "told\n"


FULL_DISK = """
set -e
mount -t tmpfs -o size=1m tmpfs "$1"
exec "$2" -c "
import asyncio, sys; from pathlib import Path; from clew.cluster.images import *; from clew.base.errors import UserError
service = ImageService(Path(sys.argv[1]), OwnProgram.running())
try: asyncio.run(service.load(Path(sys.argv[2])))
except UserError as problem: print(problem)
try: asyncio.run(service.ensure('nginx', 'Always'))
except ImageError as problem: print(problem.reason, problem)
print(sorted(str(path.relative_to(sys.argv[1])) for path in Path(sys.argv[1]).rglob('*')))
" "$1" "$3"
"""


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    layer, config, archive = tmp_path / "layer.tar", tmp_path / "config.json", tmp_path / "big.tar"
    (tmp_path / "big").write_bytes(os.urandom(2 << 20))
    subprocess.run(["tar", "-cf", layer, "-C", tmp_path, "big"], check=True)
    diff_id = "sha256:" + hashlib.sha256(layer.read_bytes()).hexdigest()
    config.write_text(json.dumps({"rootfs": {"diff_ids": [diff_id]}}))
    saved = [{"Config": "config.json", "RepoTags": ["big:1"], "Layers": ["layer.tar"]}]
    (tmp_path / "manifest.json").write_text(json.dumps(saved))
    subprocess.run(["tar", "-cf", archive, "-C", tmp_path, "layer.tar", "config.json", "manifest.json"], check=True)
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--mount", "sh", "-c", FULL_DISK, "sh", tmp_path / "disk", sys.executable, archive]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{archive} could not be loaded: No space left on device",
        'ErrImagePull the stand-in for "nginx" could not be made: No space left on device',
        "['stand-ins']",
    ], done.stderr


async def test_agnhost_as_its_original_is_used(images: ImageService, cell: Cells) -> None:
    agnhost = cell(await images.ensure("registry.k8s.io/e2e-test-images/agnhost:2.53", "IfNotPresent"))
    server = agnhost.start("netexec", "--http-port=80", "--udp-port", "81")
    assert fetch(server, "127.0.0.1/echo?msg=up").stdout == "up"
    dialled = fetch(server, "127.0.0.1/dial?host=127.0.0.1&port=81&protocol=udp&request=echo%20x&tries=2")
    assert json.loads(dialled.stdout) == {"responses": ["x", "x"]}
    assert json.loads(fetch(server, "127.0.0.1/shell?cmd=id+-u").stdout) == {"output": "0\n"}
    assert server.beside("/agnhost", "connect", "127.0.0.1:80").returncode == 0
    assert server.beside("/agnhost", "connect", "--protocol=udp", "127.0.0.1:81").returncode == 0
    refused = server.beside("/agnhost", "connect", "127.0.0.1:82", "--timeout=1s")
    assert (refused.returncode, refused.stderr) == (1, "REFUSED\n")
    unreachable = server.beside("/agnhost", "connect", "192.0.2.1:80")
    assert unreachable.stderr.startswith("OTHER: dial tcp 192.0.2.1:80: connect: network is unreachable")
    server.beside("curl", "-s", "127.0.0.1/exit?code=7")
    assert server.wait() == 7
    waiting = agnhost.start()
    waiting.read_line("Paused")
    waiting.signal(signal.SIGTERM)
    assert waiting.wait() == 2


async def test_serve_hostname_goes_on_after_sigterm(images: ImageService, cell: Cells) -> None:
    agnhost = cell(await images.ensure("agnhost", "IfNotPresent"))
    server = agnhost.start("serve-hostname", "--tcp", "--http=false", "--port=90")
    retry = "until nc 127.0.0.1 90 </dev/null; do :; done"
    name = server.beside("timeout", "60", "sh", "-c", retry).stdout
    assert name == server.beside("hostname").stdout.strip()
    server.signal(signal.SIGTERM)
    assert server.beside("timeout", "60", "sh", "-c", retry).stdout == name


async def test_clew_runs_from_its_own_image_and_sees_nothing_private(images: ImageService, cell: Cells) -> None:
    clew = cell(await images.ensure("clew", "Never"))
    program = (
        "import aiohttp, uvloop, clew.cluster.images, os, ctypes.util, json;"
        "print(json.dumps([clew.__version__, sorted(os.listdir('/root')), sorted(os.listdir('/etc')),"
        "ctypes.util.find_library('nftables')]))"
    )
    done = clew.run(OwnProgram.running().executable, "-c", program)
    version, home, etc, nftables = json.loads(done.stdout or pytest.fail(done.stderr))
    assert version == OwnProgram.running().version
    assert not {".ssh", ".bash_history", ".kube"} & set(home)
    assert set(etc) <= {"alternatives", "group", "ld.so.cache", "nsswitch.conf", "passwd", "ssl"}
    assert nftables
    assert clew.run("sh", "-c", "echo x > /usr/lib/evil").returncode != 0  # binds are read-only
    assert clew.run("sh", "-c", "nft --version && ip -V").returncode == 0


async def test_the_entry_point_of_clews_image_is_the_command(images: ImageService, cell: Cells) -> None:
    clew = cell(await images.ensure("clew", "Never"))
    asked = clew.start("--help")
    assert asked.communicate()[0].startswith("Usage: clew")
    assert asked.wait() == 0


PYTHONS = [sys.executable, *({"/usr/bin/python3"} if Path("/usr/bin/python3").exists() else {})]


@pytest.mark.parametrize("python", PYTHONS)
def test_any_environment_makes_images_that_run(tmp_path: Path, cell: Cells, python: str) -> None:
    """An environment of its own, reached through a link, with a path file as an editable installation has."""
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    environment = tmp_path / "linked" / "env"
    subprocess.run([python, "-m", "venv", "--without-pip", str(environment)], check=True)
    mine = [path for path in sys.path if path.endswith(("site-packages", "/src"))]
    site = next((tmp_path / "real/env/lib").glob("python*/site-packages"))
    (site / "clew.pth").write_text("\n".join(mine))
    ask = (
        "import asyncio, sys, msgspec; from pathlib import Path; from clew.cluster.images import *;"
        "service = ImageService(Path(sys.argv[1]), OwnProgram.running());"
        "found = [asyncio.run(service.ensure(name, 'Never')) for name in ('clew', 'agnhost')];"
        "sys.stdout.buffer.write(msgspec.json.encode(found))"
    )
    mine_python = str(environment / "bin/python")
    asked = subprocess.run([mine_python, "-c", ask, str(tmp_path / "store")], capture_output=True, check=False)
    clew, agnhost = msgspec.json.decode(asked.stdout or pytest.fail(asked.stderr.decode()), type=list[Image])
    done = cell(clew).run(mine_python, "-c", "import sys, clew, aiohttp; print(sys.prefix)")
    assert done.stdout.strip() == str(environment), done.stderr
    assert mine_python in Path(clew.lowers[0], "opt/clew/bin/clew").read_text(encoding="utf-8")
    assert cell(agnhost).run("/agnhost", "help").stdout.startswith("Usage:")
