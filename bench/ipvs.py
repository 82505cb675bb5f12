"""The service proxy in IPVS mode, facts to kernel, against `ipvsadm -R` of the same virtual and real servers.

Where the kernel has no IPVS both run in the vm lane's guest, whose processor is emulated: ratios hold there, times do
not. `ipvsadm` is fetched and unpacked, not installed. It makes virtual servers only; the proxy also compiles, fills the
sets and puts every address on the device.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.vm.guest import Guest

from bench.figures import Figure, Say, scaled
from clew.kernel.ipvs import missing

PACKAGES = ("ipvsadm", "libpopt0", "libnl-3-200", "libnl-genl-3-200")
AGAINST = "ipvsadm -R"
SECONDS = 1500


def unpack(folder: Path) -> None:
    """Ipvsadm and what it needs, as Debian ships them."""
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=60)


def run(count: int, tools: Path, say: Say) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.ipvs_inside", str(count), str(tools)]
    if not missing():
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    say("booting a kernel that has IPVS")
    with Guest() as guest:
        said = guest.run(*command, seconds=SECONDS).ok().stdout
    return dict(json.loads(said.splitlines()[-1]))


def figures(scale: float, say: Say) -> Iterator[Figure]:
    """10,000 services of four endpoints each."""
    count = scaled(10_000, scale, 10)
    at = f"{count:,} services"
    with TemporaryDirectory() as name:
        unpack(Path(name))
        found = run(count, Path(name), say)
    yield Figure(f"{at}: from empty to kernel", found["whole"], "s", found["whole restored"], AGAINST)
    yield Figure(f"{at}: one slice changed, bytes to kernel", found["one"], "ms", found["one restored"], AGAINST)
    yield Figure(f"{at}: a sync with nothing to do", found["idle"] * 1e3, "µs")
    yield Figure(f"{at}: periodic look at the kernel", found["look"], "s")
    yield Figure(f"{at}: the process", found["memory"], "MiB", goal=250)
