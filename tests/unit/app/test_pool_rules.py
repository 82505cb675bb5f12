"""The rules of the IPPool's definition: what is refused by field, wherever a server evaluates them."""

from importlib import resources
from typing import Any

import pytest
import yaml

from clew.cluster.admission.cel import Rules, compile_errors
from clew.cluster.admission.structural import schema_errors

(SCHEMA, *_) = (
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for crd in yaml.safe_load_all(resources.files("clew.app.manifests").joinpath("pools.yaml").read_text())
    if crd["spec"]["names"]["kind"] == "IPPool"
)
RULES = Rules(SCHEMA)
FIXED = "cannot be changed: make another pool, and disable this one"
SMALL = 'spec.cidr: Invalid value: "object":'
REMEDY = "so widen the range or take smaller blocks"
SIZE = 'spec.blockSize: Invalid value: "object": must be 20 to 32 for IPv4, 116 to 128 for IPv6'


def told(spec: Any, old: Any = None) -> list[str]:
    new, was = ({"metadata": {"name": "p"}, "spec": each} if each else None for each in (spec, old))
    assert new
    return [str(each) for each in (*schema_errors(SCHEMA, new), *RULES.errors(new, was))]


def test_they_compile() -> None:
    assert list(compile_errors(SCHEMA, "")) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"cidr": "10.0.0.0/16"}, []),
        ({"cidr": "10.0.0.0/26"}, []),
        ({"cidr": "10.0.0.0/28", "blockSize": 28}, []),
        ({"cidr": "fd00::/122"}, []),
        ({"cidr": "fd00::/64", "blockSize": 116}, []),
        ({"cidr": "10.0.0.1/16"}, ['spec.cidr: Invalid value: "string": has host bits: the range is 10.0.0.0/16']),
        ({"cidr": "fd00::1/64"}, ['spec.cidr: Invalid value: "string": has host bits: the range is fd00::/64']),
        ({"cidr": "10.0.0.0/28"}, [
            f"{SMALL} 10.0.0.0/28 is smaller than a block: spec.blockSize is 26, {REMEDY}"
        ]),
        ({"cidr": "fd00::/124"}, [
            f"{SMALL} fd00::/124 is smaller than a block: spec.blockSize is 122, {REMEDY}"
        ]),
        ({"cidr": "10.0.0.0/16", "blockSize": 116}, [SIZE]),
        ({"cidr": "fd00::/64", "blockSize": 64}, [SIZE]),
        ({"cidr": "10.0.0.0/16", "blockSize": 19},
         ["spec.blockSize: Invalid value: 19: spec.blockSize in body should be greater than or equal to 20"]),
        ({"cidr": "10.0.0.0/28", "disabled": True}, []),
        ({"cidr": "none"}, ['spec.cidr: Invalid value: "none": spec.cidr in body must be of type cidr: "none"']),
    ],
)  # fmt: skip
def test_a_new_pool(spec: Any, said: list[str]) -> None:
    assert told(spec) == said


@pytest.mark.parametrize(
    ("spec", "old", "said"),
    [
        ({"cidr": "10.0.0.0/16", "disabled": True}, {"cidr": "10.0.0.0/16"}, []),
        ({"cidr": "10.0.0.0/16", "blockSize": 26}, {"cidr": "10.0.0.0/16"}, []),
        ({"cidr": "fd00::/64"}, {"cidr": "fd00::/64", "blockSize": 122}, []),
        ({"cidr": "10.1.0.0/16"}, {"cidr": "10.0.0.0/16"}, [f'spec.cidr: Invalid value: "string": {FIXED}']),
        ({"cidr": "10.0.0.0/16", "blockSize": 27}, {"cidr": "10.0.0.0/16"},
         [f'spec.blockSize: Invalid value: "object": {FIXED}']),
        ({"cidr": "10.0.0.0/16"}, {"cidr": "10.0.0.0/16", "blockSize": 24},
         [f'spec.blockSize: Invalid value: "object": {FIXED}']),
    ],
)  # fmt: skip
def test_a_changed_pool(spec: Any, old: Any, said: list[str]) -> None:
    assert told(spec, old) == said


def test_a_pool_from_before_the_rules_can_be_disabled() -> None:
    """As agents may have found it on a server that did not evaluate them."""
    old = {"cidr": "10.0.0.1/28"}
    assert told({**old, "disabled": True}, old) == []
