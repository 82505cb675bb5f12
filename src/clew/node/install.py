"""Puts the CNI plugin and its configuration where container runtimes look for them: the plugin first, and each whole.

A runtime takes a node for ready when the configuration appears; it is therefore written last, when the network can
attach pods. Both files stay when the agent stops: the plugin says itself that the agent is away. While it runs, what
somebody removes or changes is put back.
"""

import asyncio
import logging
from pathlib import Path

import msgspec

from clew.base.clock import Clock
from clew.base.errors import UserError
from clew.base.value import Value
from clew.cni.versions import NEWEST
from clew.kernel import files

logger = logging.getLogger(__name__)

KEPT = 30.0  # seconds between looks at what is installed
NAME = "clew-cni"
PROGRAM = Path(__file__).parent.parent / "cni" / "plugin" / NAME
LOOPBACK = "loopback"
OURS = b"clew-cni 1 "  # in either program: the greeting on the agent's socket
STATIC = PROGRAM.with_suffix(".static")  # where scripts/build-cni made it: it needs nothing of the node
USUAL_SOCKET = Path("/run/clew/cni.sock")
CONFLIST_VERSION = "1.0.0"  # what every runtime in use reads; those that know cniVersions take the newest


class CniPaths(Value):
    """Where things are on the node, as the plugin sees them."""

    bin_dir: Path
    config_file: Path
    socket: Path
    spool: Path
    network: str = "clew"


def conflist(paths: CniPaths) -> bytes:
    """The network configuration list. Keys are written as the plugin reads them: plain text, no escapes."""
    can = dict.fromkeys(("portMappings", "ips", "mac", "dns", "bandwidth"), True)
    plugin = {"type": NAME, "capabilities": can, "agentSocket": str(paths.socket), "agentSpool": str(paths.spool)}
    document = {
        "cniVersion": CONFLIST_VERSION,
        "cniVersions": [CONFLIST_VERSION, NEWEST],
        "name": paths.network,
        "plugins": [plugin],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def install_plugin(paths: CniPaths) -> None:
    """The program, executable by whoever runs the runtime; the static one where it has been built.

    A configuration may name no socket: one that is broken, and that by which container runtimes call a plugin
    `loopback`, for which the same program serves where a node has none. A static one knows the usual socket only.
    """
    static = STATIC.exists()
    data = (STATIC if static else PROGRAM).read_bytes()
    said = data if static else data.replace(str(USUAL_SOCKET).encode(), str(paths.socket).encode())
    _put(paths.bin_dir / NAME, said, 0o755)
    other = paths.bin_dir / LOOPBACK
    if not other.exists() or OURS in other.read_bytes():
        _put(other, said, 0o755)


def install_configuration(paths: CniPaths) -> None:
    _put(paths.config_file, conflist(paths), 0o600)


async def keep(paths: CniPaths, clock: Clock) -> None:
    """For ever: both files as they were written. A folder that refuses is said once, and tried again."""
    said = ""
    while True:
        await clock.sleep(KEPT)
        try:
            await asyncio.to_thread(_install, paths)
            said = ""
        except UserError as refusal:
            if str(refusal) != said:
                logger.warning("%s", refusal)
            said = str(refusal)


def _install(paths: CniPaths) -> None:
    install_plugin(paths)
    install_configuration(paths)


def _put(path: Path, data: bytes, mode: int) -> None:
    try:
        if path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o777 == mode:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, data, mode)
    except OSError as problem:
        raise UserError(
            f"cannot write {path}: {problem.strerror}", "the agent's pod must mount this folder"
        ) from problem
