from typing import Any

from clew.api.objects import Object
from clew.watch.errors import ApiError
from clew.watch.events import EventRecorder

POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "p", "namespace": "d", "uid": "u", "resourceVersion": "3"},
}


class Server:
    def __init__(self) -> None:
        self.made: list[Object] = []
        self.patches: list[tuple[str, Any]] = []
        self.error: ApiError | None = None

    async def create(self, kind: Any, obj: Object, namespace: str = "") -> Object:
        del kind, namespace
        if self.error:
            raise self.error
        self.made.append(obj)
        return obj

    async def patch(self, kind: Any, name: str, body: Any, namespace: str = "") -> Object:
        del kind, namespace
        if self.error:
            raise self.error
        self.patches.append((name, body))
        return {}


async def test_an_event_names_its_object_and_its_teller(clock: Any) -> None:
    server = Server()
    await EventRecorder(server, "kubelet", "node-1", clock).record(POD, "Normal", "Pulled", "Image is there")
    (event,) = server.made
    assert event["metadata"]["namespace"] == "d"
    assert event["metadata"]["name"].startswith("p.")
    assert event["involvedObject"] == {
        "kind": "Pod", "apiVersion": "v1", "namespace": "d", "name": "p", "uid": "u", "resourceVersion": "3",
    }  # fmt: skip
    assert event["source"] == {"component": "kubelet", "host": "node-1"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"


async def test_the_same_said_again_is_counted(clock: Any) -> None:
    server = Server()
    recorder = EventRecorder(server, "x", clock=clock)
    for _ in range(3):
        await recorder.record(POD, "Warning", "BackOff", "again")
    clock.at += 3600
    await recorder.record(POD, "Warning", "BackOff", "again")
    assert len(server.made) == 2
    assert [body["count"] for _, body in server.patches] == [2, 3]


async def test_parts_of_one_object_are_told_of_apart_and_share_its_budget(clock: Any) -> None:
    server = Server()
    recorder = EventRecorder(server, "x", clock=clock)
    for name in ("a", "b", "a"):
        await recorder.record(
            {**POD, "fieldPath": f"spec.containers{{{name}}}"}, "Normal", "Started", "Container started"
        )
    assert [each["involvedObject"]["fieldPath"] for each in server.made] == ["spec.containers{a}", "spec.containers{b}"]
    assert [body["count"] for _, body in server.patches] == [2]
    for number in range(40):
        await recorder.record({**POD, "fieldPath": f"{number}"}, "Normal", "Started", "Container started")
    assert len(server.made) < 30


async def test_too_much_about_one_object_is_dropped(clock: Any) -> None:
    server = Server()
    recorder = EventRecorder(server, "x", clock=clock)
    for number in range(40):
        await recorder.record(POD, "Warning", "Noise", str(number))
    assert len(server.made) == 25


async def test_it_never_fails(clock: Any) -> None:
    server = Server()
    server.error = ApiError(500, "InternalError", "no")
    await EventRecorder(server, "x", clock=clock).record(POD, "Normal", "A", "b")


async def test_an_event_of_a_node_goes_to_the_default_namespace(clock: Any) -> None:
    server = Server()
    node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n", "uid": "u"}}
    await EventRecorder(server, "x", clock=clock).record(node, "Normal", "NodeReady", "ready")
    assert server.made[0]["metadata"]["namespace"] == "default"
    assert server.made[0]["involvedObject"]["namespace"] == ""


async def test_events_of_one_moment_are_named_in_the_order_told(clock: Any) -> None:
    """With random names `kubectl describe`, which sorts by the second only, told of Started before Scheduled."""
    server = Server()
    recorder = EventRecorder(server, "x", clock=clock)
    for reason in ("Scheduled", "Pulling", "Pulled", "Created", "Started"):
        await recorder.record(POD, "Normal", reason, "")
    listed = sorted(server.made, key=lambda event: event["metadata"]["name"])
    assert [event["reason"] for event in listed] == ["Scheduled", "Pulling", "Pulled", "Created", "Started"]
