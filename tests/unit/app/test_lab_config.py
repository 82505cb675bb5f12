"""A lab's shape: what is taken, and that a wrong one is refused by the field's name before anything is made."""

from pathlib import Path

import pytest

from clew.app.lab_config import read_spec
from clew.base.errors import UserError


def test_the_usual_lab_has_three_nodes_and_both_families_have_their_ranges() -> None:
    spec = read_spec("clew", None, {"ip_family": "dual"})
    assert spec.nodes == ("node-1", "node-2", "node-3")
    assert spec.pod_cidrs == ("10.244.0.0/16", "fd00:10:244::/48")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("nodes: ['../../etc/x']", "nodes[0]"),
        ("nodes: [a, a]", "nodes[1]: 'a' is there twice"),
        ("nodes: [outside]", "nodes[0]"),
        ("nodes: 0", "nodes: 0 is out of range"),
        ("nodez: 3", "nodez"),
        ("podCIDR: 10.96.0.0/16", "podCIDR 10.96.0.0/16 and serviceCIDR 10.96.0.0/12 overlap"),
        ("{ipFamily: ipv6, podCIDR: 10.244.0.0/16}", "podCIDR: 10.244.0.0/16 does not fit ipFamily ipv6"),
        ("subnets: [172.30.0.0/29]", "172.30.0.0/29 is too small"),
        ("apiVersion: nope", "apiVersion: 'nope'"),
        ("proxy: {mode: fast}", "mode: 'fast'"),
    ],
)
def test_a_wrong_lab_is_refused_by_its_field(tmp_path: Path, document: str, message: str) -> None:
    path = tmp_path / "lab.yaml"
    text = document.strip("{}").replace(", ", "\n") if document.startswith("{") else document
    path.write_text(f"kind: Lab\n{text}\n")
    with pytest.raises(UserError) as error:
        read_spec("clew", path, {})
    assert message in str(error.value)
