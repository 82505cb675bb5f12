"""The Secret that a lab makes is one that agents take."""

from clew.app import ipsec_secret
from clew.facts import ipsec


def test_a_lab_s_keys_are_valid_and_its_own() -> None:
    found = [ipsec.from_api(ipsec_secret.made("clew-ipsec-keys")) for _ in range(2)]
    assert all(not ring.problems for ring in found)
    assert [[key.number for key in ring.keys] for ring in found] == [[1], [1]]
    assert found[0].keys[0].material != found[1].keys[0].material
    assert len(found[0].keys[0].material) == 36
