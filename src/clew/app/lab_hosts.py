"""A lab's hosts as commands see them: which are off, being one, cutting its cable. The daemon need not run."""

import contextlib
from collections.abc import Sequence

import msgspec

from clew.app.lab_spec import the_spec
from clew.base.errors import UserError
from clew.cluster.fabric import set_cable
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.entering import run_in_host
from clew.kernel.errors import KernelError

RECORD = "off.json"


def switched_off(paths: LabPaths) -> list[str]:
    """The nodes that their user has switched off."""
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode((paths.state / RECORD).read_bytes(), type=list[str])
    return []


def become(paths: LabPaths, host: str, command: Sequence[str]) -> None:
    """Become the command, inside a host of the lab; returns only by UserError."""
    if host in switched_off(paths):
        raise UserError(f"node {host} is switched off", f"try: clew node start --name {paths.name} {host}")
    run_in_host(paths, host, command)


def set_host_cable(paths: LabPaths, name: str, *, joined: bool) -> None:
    """Cut or join the cable of a node or of the host outside; the daemon need not run. UserError."""
    fabric = the_spec(paths).fabric()
    try:
        set_cable(paths, fabric.host(name), joined=joined)
    except KeyError:
        known = " ".join(each.name for each in fabric.hosts)
        raise UserError(f"lab {paths.name} has no host {name!r}", f"hosts: {known}") from None
    except KernelError as error:
        raise UserError(f"{name} has no cable now: {error}", f"see clew status --name {paths.name}") from None
