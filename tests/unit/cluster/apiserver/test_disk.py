"""A disk that is full: every write is refused in a sentence, reads and watches go on, and nothing is half there."""

import subprocess
from collections.abc import Callable
from typing import Any

from .conftest import Raw, Running
from .samples import CONFIG, NODE_PORT, PATHS, changed

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def pages(running: Running, most: int) -> None:
    """How large the database may become; SQLite then says what it says of a full disk."""
    database: Any = running.storage._database
    database._db.execute(f"PRAGMA max_page_count={most}").fetchall()


def test_a_full_disk_is_told_and_survived(running: Running, call: Raw, kubectl: Kubectl) -> None:
    call("POST", PATHS["ConfigMap"], CONFIG)
    before = call("GET", PATHS["ConfigMap"]).obj
    large = {**CONFIG, "metadata": {"name": "large"}, "data": {"a": "x" * 100_000}}
    service = changed(changed(NODE_PORT, "spec.clusterIP", "10.96.8.8"), "spec.ports.0.nodePort", 30123)
    fat = changed(service, "metadata.annotations", {"a": "x" * 100_000})
    pages(running, 1)
    with call.watch(PATHS["ConfigMap"]) as events:
        assert events.named(1) == [("ADDED", "conf")]
        for path, body in ((PATHS["ConfigMap"], large), (PATHS["Service"], fat)):
            refused = call("POST", path, body)
            assert (refused.code, refused.obj["reason"]) == (500, "InternalError")
            assert refused.obj["message"].startswith("Internal error occurred: cannot write ")
            assert refused.obj["message"].endswith("the disk is full; free some space and retry")
        told = kubectl("create", "configmap", "c", f"--from-literal=a={'x' * 50_000}", check=False)
        assert "the disk is full; free some space and retry" in told.stderr
        assert call("GET", PATHS["ConfigMap"]).obj["items"] == before["items"]
        assert call("GET", f"{PATHS['ConfigMap']}/large").code == 404
        assert call("GET", "/readyz").code == 200
        pages(running, 100_000)
        assert call("POST", PATHS["ConfigMap"], large).code == 201
        assert events.named(1) == [("ADDED", "large")]
    assert call("POST", PATHS["Service"], service).code == 201  # address and port were given back
