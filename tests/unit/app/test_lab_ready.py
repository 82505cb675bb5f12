"""Whether cluster DNS answers is asked by sockets that stay: each is a process of the node's to make."""

import socket

import pytest

from clew.app import lab_ready
from clew.app.lab_spec import LabSpec
from clew.cluster.paths import LabPaths

LOOPBACK = LabSpec(service_cidrs=("127.0.0.0/24",))  # DNS at 127.0.0.10, where nobody listens


async def test_while_dns_is_silent_no_socket_is_made_for_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a slow machine these processes took an eighth of it, and DNS came the later."""
    made: list[socket.socket] = []

    def make(_paths: LabPaths, _host: str, family: int, kind: int) -> socket.socket:
        made.append(socket.socket(family, kind))
        return made[-1]

    monkeypatch.setattr(lab_ready, "socket_in_host", make)
    questions = lab_ready.Questions(LabPaths("none"), LOOPBACK)
    try:
        for _ in range(5):
            assert await questions.silent(["node-1"]) == ["node-1"]
        assert len(made) == 1
        made[0].close()  # as where its network has gone
        assert await questions.silent(["node-1"]) == ["node-1"]
        assert await questions.silent(["node-1"]) == ["node-1"]
        assert len(made) == 2
        made[1].close()
        monkeypatch.setattr(lab_ready, "_KEPT", 0.0)  # as after ten seconds: the node may have begun anew
        for _ in range(3):
            assert await questions.silent(["node-1"]) == ["node-1"]
        assert len(made) == 4
    finally:
        questions.close()
