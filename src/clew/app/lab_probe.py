"""What a lab asks of this kernel, tried before its daemon starts, in a network namespace that is gone again after.

Otherwise the agents would find out, pod by pod, and `clew up` would only know that DNS does not answer.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clew.app.lab_spec import LabSpec
from clew.app.network_config import PROTOCOLS
from clew.base.addresses import family_of
from clew.base.errors import UserError
from clew.cluster.paths import LabPaths
from clew.dataplane.dns_fast_path import apply as dns_fast_path
from clew.dataplane.overlay.devices import OPTIONS
from clew.kernel import netns
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Detail, Link, Netlink, Plain, Vxlan, XfrmInterface
from clew.kernel.xfrm import KernelXfrm, State
from clew.node.proxy_modes import mode

_SPACE = "probe"
_DOCUMENTED = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}  # RFC 5737, RFC 3849
# What the agents' pods see: the environment that Clew runs in, and the machine's own
_PATH = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def check(paths: LabPaths, spec: LabSpec) -> None:
    """UserError where the proxy's mode, the DNS fast path or the network's backend cannot run here."""
    with _scratch(paths.netns(_SPACE)) as space:
        mode(str(spec.proxy.get("mode", "")), space)
        _check_fast_path(spec)
        backend = spec.network.backend
        kind = spec.network.encapsulation
        check_programs(backend)
        if kind is None:
            return
        particular: dict[str, Detail] = {"vxlan": Vxlan(1), "ipsec": XfrmInterface(1)}
        try:
            with Netlink(space) as kernel:
                kernel.request([Add(Link("probe0", particular.get(kind, Plain(kind))))])
            if kind == "ipsec":
                _try_esp(space, min(family_of(cidr) for subnet in spec.subnets for cidr in subnet.cidrs))
        except KernelError as error:
            if error.exists:  # the kernel made one of the kind by itself, such as tunl0
                return
            remedy = "choose another backend; clew doctor lists what this kernel has"
            named = error.detail if "CONFIG_" in error.detail else f"{error} ({OPTIONS.get(kind, kind)})"
            raise UserError(f"network: this kernel does not do {backend}: {named}", remedy) from None


def check_programs(backend: str) -> None:
    """UserError where a network's backend needs a program that the agents' pods would not find."""
    if backend in PROTOCOLS and shutil.which("bird", path=_PATH) is None:
        raise UserError(f"network: {backend} needs the program bird", "try: apt-get install bird2")


def _check_fast_path(spec: LabSpec) -> None:
    if spec.dns.fast_path == "ebpf":
        try:
            dns_fast_path.load().close()
        except KernelError as error:
            raise UserError(f"dns.fastPath: {error}", "leave it out: the DNS servers answer everything then") from None


def _try_esp(space: Path, family: int) -> None:
    """KernelError where there is no ESP in this family, that of the outer packets, or no AES-GCM."""
    xfrm = KernelXfrm(space)
    try:
        xfrm.add_state(State(*_DOCUMENTED[family], 0x1000), bytes(20))
    finally:
        xfrm.close()


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    netns.delete(path)
    netns.create(path)
    try:
        yield path
    finally:
        netns.delete(path)
