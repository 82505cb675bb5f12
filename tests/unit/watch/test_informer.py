from typing import Any

from clew.api.kinds import POD
from clew.api.objects import Object
from clew.watch.informer import Informer


def pod(name: str, version: int, uid: str = "", app: str = "") -> Object:
    return {"metadata": {"namespace": "d", "name": name, "resourceVersion": str(version), "uid": uid, "app": app}}


def informer(seen: list[Any]) -> Informer:
    found = Informer(None, POD, indexes={"app": lambda obj: [obj["metadata"]["app"]]})  # type: ignore[arg-type]  # not run
    found.subscribe(lambda old, new: seen.append((_version(old), _version(new))))
    return found


def _version(obj: Object | None) -> str | None:
    return str(obj["metadata"]["resourceVersion"]) if obj else None


def test_subscribers_hear_only_of_changes() -> None:
    seen: list[Any] = []
    cache = informer(seen)
    a, b, c = ("d", "a"), ("d", "b"), ("d", "c")
    cache.replace({a: pod("a", 1), b: pod("b", 2)})
    cache.put(b, pod("b", 3))
    cache.put(c, None)
    cache.replace({b: pod("b", 3), c: pod("c", 4)})
    assert seen == [(None, "1"), (None, "2"), ("2", "3"), ("1", None), (None, "4")]


def test_an_object_made_anew_under_its_name_is_first_gone() -> None:
    seen: list[Any] = []
    cache = informer(seen)
    cache.put(("d", "a"), pod("a", 1, uid="x"))
    cache.put(("d", "a"), pod("a", 5, uid="y"))
    assert seen == [(None, "1"), ("1", None), (None, "5")]


def test_indexes_follow() -> None:
    cache = informer([])
    cache.replace({("d", "a"): pod("a", 1, app="x"), ("d", "b"): pod("b", 2, app="x")})
    assert cache.count("app", "x") == 2
    cache.put(("d", "a"), pod("a", 3, app="y"))
    cache.put(("d", "b"), None)
    assert [obj["metadata"]["name"] for obj in cache.by("app", "y")] == ["a"]
    assert not cache.by("app", "x")


def test_a_failing_subscriber_stops_nobody(caplog: Any) -> None:
    seen: list[Any] = []
    cache = Informer(None, POD)  # type: ignore[arg-type]  # not run

    def fails(_: Object | None, __: Object | None) -> None:
        raise RuntimeError("mine")

    cache.subscribe(fails)
    cache.subscribe(lambda _, new: seen.append(new))
    cache.put(("d", "a"), pod("a", 1))
    assert len(seen) == 1
    assert "a subscriber of pods failed" in caplog.text
