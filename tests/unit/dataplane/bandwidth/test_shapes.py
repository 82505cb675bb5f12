"""Rates to token buckets: which burst, how much may wait, and what the kernel's fields can hold."""

import pytest

from clew.dataplane.bandwidth.objects import LARGEST, Bucket
from clew.dataplane.bandwidth.render import shape
from clew.ir.links import PodRates, Rate


@pytest.mark.parametrize(
    ("rate", "bucket", "burst"),
    [
        (Rate(8_000_000, 800_000), Bucket(1_000_000, 25_000 + 100_000), 100_000),
        (Rate(8_000_000), Bucket(1_000_000, 25_000 + 50_000), 50_000),  # nobody chose: 50 ms
        (Rate(8_000_000, 2**31 - 1), Bucket(1_000_000, 25_000 + 50_000), 50_000),  # nobody chose it: ocicni
        (Rate(8_000_000, 2**31), Bucket(1_000_000, 25_000 + 2**28), 2**28),
        (Rate(8_000_000, 2**32 - 1), Bucket(1_000_000, 25_000 + 50_000), 50_000),
        (Rate(8_000, 80), Bucket(1_000, 25 + 3_036), 3_036),  # two packets at least
        (Rate(10**15), Bucket(125 * 10**12, LARGEST), LARGEST // 2 + 1),
    ],
)
def test_buckets(rate: Rate, bucket: Bucket, burst: int) -> None:
    found = shape(PodRates(rate, None, 1500, "Pod default/web"), "veth0123456789")
    assert (found.to_pod, found.from_pod, found.ifb) == (bucket, None, "ifb0123456789")
    assert bucket.burst == burst
