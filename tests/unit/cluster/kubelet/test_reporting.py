from clew.api.kinds import POD
from clew.api.patch import strategic_merge_patch
from clew.cluster.kubelet.reporting import status_patch


def test_what_a_condition_no_longer_says_goes() -> None:
    """Conditions merge by type: a pod that had become Ready still said which of its containers were unready."""
    ready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "unready: [a]"}
    scheduled = {"type": "PodScheduled", "status": "True"}
    before = {"phase": "Pending", "conditions": [ready, scheduled], "podIPs": [{"ip": "10.0.0.1"}]}
    after = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}, scheduled]}
    patched = strategic_merge_patch(POD, {"status": before}, {"status": status_patch(before, after)})
    assert patched["status"] == after


def test_conditions_stand_in_the_order_that_describe_shows() -> None:
    """The scheduler writes PodScheduled first; a real kubelet's list ends with it."""
    names = ("PodReadyToStartContainers", "Ready", "PodScheduled")
    before = {"conditions": [{"type": "PodScheduled", "status": "True"}]}
    after = {"conditions": [{"type": each, "status": "True"} for each in names]}
    patched = strategic_merge_patch(POD, {"status": before}, {"status": status_patch(before, after)})
    assert [each["type"] for each in patched["status"]["conditions"]] == list(names)
