"""A lab's hosts as commands see them: which are off, and being one. The daemon need not run, and little is loaded."""

import contextlib
from collections.abc import Sequence

import msgspec

from clew.base.errors import UserError
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.entering import run_in_host

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
