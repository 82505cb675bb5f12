"""What a machine looks like to its user, as JSON: categories of lines. Run inside a test's machine (machine.py).

Left out, with the reason:
* counters, times of folders, mount ids: they change by being looked at;
* what kubectl keeps for itself in ~/.kube/cache;
* sysctls that count or are random (VOLATILE): no setting among them;
* what is read-only in the machine (/etc /opt /usr): an attempt to write there fails the command under test;
* kernel modules that the kernel loads by itself when a facility is first used (ON_DEMAND);
* BPF programs and links are the whole kernel's, other people's too: machine.py's users compare ids and wait.
"""

import ctypes
import hashlib
import json
import os
import platform
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

LOOKS = {
    "links": "ip -d -o link",
    "addresses": "ip -o address",
    "routes": "ip route show table all; ip -6 route show table all",
    "rules": "ip rule; ip -6 rule",
    "nft": "nft list ruleset",
    "iptables": "iptables-save; ip6tables-save; iptables-legacy-save; ip6tables-legacy-save",
    "ipset": "ipset save",
}
VOLATILE = re.compile(
    r"kernel/(random/|ns_last_pid|pty/nr|threads|sched|keys/|spl_|perf)|fs/(dentry-state|inode|file-nr|aio-nr|quota)"
    r"|net/(ipv4/route/|netfilter/nf_conntrack_count)|vm/(stat|.*_nr|drop)|fs/binfmt_misc/"
)
ON_DEMAND = re.compile(
    r"(nf|nft|nfnetlink|veth|bridge|stp|llc|overlay|vxlan|ipip|tunnel4|ip_tunnel|udp_tunnel|ip6|ip_set|xt|x_tables|ipt"
    r"|libcrc32c|crc)"
)


def shell(command: str) -> list[str]:
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    lines = (re.sub(r"\[\d+:\d+\]|^# (Generated|Completed).*", "", line) for line in done.stdout.splitlines())
    return [line for line in lines if line.strip()]


def sysctls() -> list[str]:
    found = []
    for folder, _, names in os.walk("/proc/sys"):
        for name in names:
            path = Path(folder, name)
            if not VOLATILE.match(str(path.relative_to("/proc/sys"))):
                with suppress(OSError, UnicodeDecodeError):
                    found.append(f"{path} {path.read_text().split()}")
    return found


def processes() -> list[str]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            with suppress(OSError):
                words = (path / "cmdline").read_bytes().split(b"\0")
                found.append(b" ".join(words).decode(errors="replace").strip())
    return found


def namespaces() -> list[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/*"):
        with suppress(OSError):
            found.add(str(path.readlink()))
    return sorted(found)


def mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [" ".join(line.split(" ")[3:]) for line in lines]


def sockets() -> list[str]:
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        with suppress(OSError):
            rows = [line.split() for line in Path("/proc/net", kind).read_text().splitlines()[1:]]
            listening = {"0A"} if kind.startswith("tcp") else {"07"}
            found += [f"{kind} {row[1]}" for row in rows if row[3] in listening]
    unix = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    found += [f"unix {words[7]}" for words in unix if len(words) > 7]  # the nameless ones are pairs
    with suppress(OSError):
        found += Path("/proc/net/packet").read_text().splitlines()[1:]
    return found


def control_groups() -> list[str]:
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup")]


def files() -> list[str]:
    found = []
    for root in ("/run", "/tmp", "/var"):
        device = os.lstat(root).st_dev
        for folder, folders, names in os.walk(root):
            folders[:] = [each for each in folders if _of(device, f"{folder}/{each}")]
            for name in [*folders, *names]:
                with suppress(FileNotFoundError):  # gone meanwhile
                    found.append(_described(f"{folder}/{name}"))
    return found


def _of(device: int, path: str) -> bool:
    with suppress(FileNotFoundError):
        return os.lstat(path).st_dev == device and not path.endswith("/.kube/cache")
    return False


def _described(path: str) -> str:
    seen = os.lstat(path)
    words = [path, stat.filemode(seen.st_mode), str(seen.st_uid), str(seen.st_gid)]
    if stat.S_ISREG(seen.st_mode):
        with suppress(OSError):  # a pinned namespace has no content
            words.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
    elif stat.S_ISLNK(seen.st_mode):
        words.append(os.readlink(path))  # noqa: PTH115 - a Path for each file of a machine
    return " ".join(words)


def bpf_ids(command: int) -> list[str]:
    """Ids of programs (BPF_PROG_GET_NEXT_ID, 11) or links (BPF_LINK_GET_NEXT_ID, 31), see bpf(2)."""
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    libc = ctypes.CDLL(None, use_errno=True)
    ask = (ctypes.c_uint32 * 3)(0, 0, 0)
    found = []
    while libc.syscall(number, command, ctypes.byref(ask), ctypes.sizeof(ask)) == 0:
        found.append(str(ask[1]))
        ask[0] = ask[1]
    return found


def modules() -> list[str]:
    with suppress(OSError):
        names = [line.split()[0] for line in Path("/proc/modules").read_text().splitlines()]
        return [name for name in names if not ON_DEMAND.match(name) or name == "br_netfilter"]
    return []


CATEGORIES: dict[str, Callable[[], list[str]]] = {
    **{name: partial(shell, command) for name, command in LOOKS.items()},
    "sysctls": sysctls, "mounts": mounts, "control groups": control_groups, "processes": processes,
    "namespaces": namespaces, "sockets": sockets, "files": files, "modules": modules,
    "bpf programs": partial(bpf_ids, 11), "bpf links": partial(bpf_ids, 31),
}  # fmt: skip

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(CATEGORIES)
    sys.stdout.write(json.dumps({name: sorted(CATEGORIES[name]()) for name in chosen}))
