"""One stream through each way between nodes, against a plain veth pair: throughput and CPU of each KiB.

Where this machine's kernel lacks one of them all run in the vm lane's guest: its processor is emulated and has no
instructions for AES, so that ratios are ratios there and ciphers look worse than they are on a machine. bgp and ospf
lead packets as host-gw does. CPU is the whole guest's, since ciphers run in threads of the kernel.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import in_guest
from bench.cable import CHUNK, Cable, Way, compared, missing
from bench.figures import Figure, Say, scaled

BYTES, ROUNDS = 32 << 20, 3
WAYS: tuple[Way, ...] = (None, "vxlan", "ipip", "wireguard", "ipsec")


def figures(scale: float, say: Say) -> Iterator[Figure]:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        if missing(root, ("ipip", "wireguard", "ipsec"), say):
            yield from in_guest.measured("tunnels", scale, say)
            return
        size = scaled(BYTES, scale, CHUNK)
        plain = Cable(root, stack, None, routed=False)
        for way in WAYS:
            name = way or "host-gw"
            say(f"{name}: {size >> 20} MiB, {ROUNDS} times")
            yield from compared(name, Cable(root, stack, way), plain, size, ROUNDS, alone=True)
