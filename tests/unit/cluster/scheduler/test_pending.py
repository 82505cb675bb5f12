from clew.cluster.scheduler.pending import Pending


def pod(name: str, priority: int = 0, made: str = "1") -> dict[str, object]:
    return {"metadata": {"namespace": "d", "name": name, "creationTimestamp": made}, "spec": {"priority": priority}}


def test_priority_then_age_then_arrival() -> None:
    pending = Pending()
    for each in (pod("young", made="3"), pod("first", made="2"), pod("second", made="2"), pod("vip", 10, made="9")):
        pending.add(each)
    assert [name for _, name in pending.take()] == ["vip", "first", "second", "young"]
    assert not pending


def test_those_that_wait_are_tried_when_added_again() -> None:
    pending = Pending()
    pending.wait(("d", "a"))
    assert not pending
    assert list(pending.waiting) == [("d", "a")]
    pending.add(pod("a"))
    assert pending
    assert not list(pending.waiting)
    pending.drop(("d", "a"))
    assert not pending
