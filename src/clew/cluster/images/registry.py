"""The last resort: an image fetched from a registry by `skopeo`, where it is installed and a registry is reachable.

One archive is fetched and handed to the store, which unpacks it as it unpacks any other: nothing of a registry's
answer is trusted further than that. Credentials are skopeo's own affair (its usual files, REGISTRY_AUTH_FILE).
"""

import asyncio
import contextlib
import os
import re
import shutil
from pathlib import Path

from clew.cluster.images.reference import Reference

_LONGEST = 600.0  # seconds for one image
_POLICY = Path("/etc/containers/policy.json")
_MESSAGE = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
_UNREACHABLE = ("pinging container registry", "dial tcp", "no such host", "i/o timeout", "connection refused")


class FetchError(Exception):
    """The middle of the sentence that the pod's owner reads."""


async def fetch(reference: Reference, archive: Path, program: str = "skopeo") -> None:
    """Write the image for this machine to `archive`, an OCI archive. FetchError says why it could not be had."""
    skopeo = shutil.which(program)
    if skopeo is None:
        raise FetchError("no registry could be reached (skopeo is not installed)")
    source = f"{reference.repository}@{reference.digest}" if reference.digest else str(reference)
    process = await asyncio.create_subprocess_exec(
        *(skopeo, *_trust(), "--override-os=linux", f"--command-timeout={_LONGEST:.0f}s"),
        f"--tmpdir={archive.parent}",
        *("copy", "--quiet", *_transport(reference), f"docker://{source}", f"oci-archive:{archive}:fetched"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        # Its cache of blob locations goes where its temporary files go, not to the machine's /var/lib/containers.
        env={**os.environ, "_CONTAINERS_ROOTLESS_UID": "1", "XDG_DATA_HOME": str(archive.parent)},
    )
    try:
        async with asyncio.timeout(_LONGEST + 10):
            _, errors = await process.communicate()
    except TimeoutError:
        raise FetchError(f"the registry did not deliver it within {_LONGEST:.0f} seconds") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise FetchError(_reason(errors.decode(errors="replace")))


def _trust() -> list[str]:
    """Without a policy of the machine's own, skopeo refuses everything."""
    return [] if _POLICY.exists() else ["--insecure-policy"]


def _transport(reference: Reference) -> list[str]:
    """A registry on this machine may speak plain HTTP, as container engines have it; any other must prove itself."""
    host = reference.domain.rpartition(":")[0] or reference.domain
    on_this_machine = host in {"localhost", "[::1]"} or host.startswith("127.")
    return ["--src-tls-verify=false"] if on_this_machine else []


def _reason(errors: str) -> str:
    """Skopeo's last word as part of our sentence."""
    last = errors.strip().rpartition("\n")[2] or "skopeo gave no reason"
    if (found := _MESSAGE.search(last)) is not None:
        last = found[1].replace('\\"', '"').replace("\\\\", "\\")
    if any(mark in last for mark in _UNREACHABLE):
        return f"no registry could be reached ({last})"
    return f"the registry refused it ({last})"
