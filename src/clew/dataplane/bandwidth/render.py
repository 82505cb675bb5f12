"""ir to token buckets. Pure."""

from clew.dataplane.bandwidth.objects import LARGEST, Bucket, Shape, waiting
from clew.ir.links import PodRates, Rate

UNSAID = frozenset({0, 2**31 - 1, 2**32 - 1})  # bits: what runtimes write where nobody chose a burst
USUAL = 20  # a twentieth of a second of the rate is the burst then
HEADER = 18  # bytes of Ethernet's before what the MTU counts, with a VLAN's tag


def shape(rates: PodRates, link: str) -> Shape:
    """`link` is the host's end of the pod's pair."""
    return Shape(link, _bucket(rates.to_pod, rates.mtu), _bucket(rates.from_pod, rates.mtu), rates.mtu)


def _bucket(rate: Rate | None, mtu: int) -> Bucket | None:
    if rate is None:
        return None
    speed = max(1, rate.bits // 8)
    chosen = speed // USUAL if rate.burst in UNSAID else rate.burst // 8
    wait = waiting(speed)
    return Bucket(speed, wait + min(max(chosen, 2 * (mtu + HEADER)), LARGEST - wait))
