"""A ServiceCIDR's ranges."""

import pytest

from clew.facts.servicecidr import ServiceCidr, decode


@pytest.mark.parametrize(
    ("spec", "cidrs"),
    [
        (b'{"cidrs": ["10.96.0.0/12", "fd00:10:96::/112"]}', ("10.96.0.0/12", "fd00:10:96::/112")),
        (b'{"cidrs": ["10.96.0.1/12", "ten", "10.97.0.0/16"]}', ("10.97.0.0/16",)),
        (b'{"cidrs": ["0.0.0.0/0", "::/0"]}', ()),  # all traffic would be dropped, and ipset takes no such range
        (b"{}", ()),
        (b'{"cidrs": null}', ()),
    ],
)
def test_ranges(spec: bytes, cidrs: tuple[str, ...]) -> None:
    found = decode(b'{"metadata": {"name": "more", "uid": "x"}, "spec": ' + spec + b', "status": {"conditions": []}}')
    assert found == (("", "more"), ServiceCidr("more", cidrs))
