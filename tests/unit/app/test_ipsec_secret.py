"""The Secret that a lab makes is one that agents take, and one that they may read."""

from clew.app import ipsec_secret
from clew.app.manifest_objects import ClusterFacts, objects
from clew.app.network_config import IpsecConfiguration, NetworkConfiguration
from clew.facts import ipsec


def test_a_lab_s_keys_are_valid_and_its_own() -> None:
    found = [ipsec.from_api(ipsec_secret.made("clew-ipsec-keys")) for _ in range(2)]
    assert all(not ring.problems for ring in found)
    assert [[key.number for key in ring.keys] for ring in found] == [[1], [1]]
    assert found[0].keys[0].material != found[1].keys[0].material
    assert len(found[0].keys[0].material) == 36


def test_agents_may_read_the_secret_that_is_named_and_no_other() -> None:
    """Once the Role was lost when two changes of the manifest met: no agent could read a key."""
    network = NetworkConfiguration(ipsec=IpsecConfiguration(secret="mine"))
    made = objects(ClusterFacts(("10.244.0.0/16",), ("10.96.0.0/12",), network=network))
    rules = [
        (each["kind"], rule)
        for each in made
        for rule in each.get("rules", ())
        if "secrets" in rule.get("resources", ()) and "agent" in each["metadata"]["name"]
    ]
    assert rules == [
        (
            "Role",
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get", "list", "watch"]},
        )
    ]
    bound = [each for each in made if each["kind"] == "RoleBinding" and each["roleRef"]["name"] == "clew-agent-ipsec"]
    assert [each["subjects"][0]["name"] for each in bound] == ["clew-agent"]
