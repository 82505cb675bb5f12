"""What a service costs a connection in IPVS mode, real packets, against the pod's own address in the same kernel.

As service_path, in the vm lane's guest where this kernel has no IPVS: the processor is emulated there, so its ratios
compare with those of the other modes, its times do not.
"""

from collections.abc import Iterator

from bench import in_guest, service_path
from bench.figures import Figure, Say
from clew.kernel.ipvs import missing


def figures(scale: float, say: Say) -> Iterator[Figure]:
    """With 10 services and with 10,000."""
    if missing():
        yield from in_guest.measured("ipvs_path", scale, say)
    else:
        yield from service_path.costs("ipvs", scale, say)
