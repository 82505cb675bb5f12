"""The plugin against a socket: what it passes on, what it prints, what it does alone. Python and C, one suite."""

import json
import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from clew.cni import framing
from clew.cni.request import parse
from clew.node import install

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "src" / "clew" / "cni" / "plugin" / "clew-cni"


@pytest.fixture(scope="module", params=["python", "static"])
def plugin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "python":
        return PLUGIN
    program = tmp_path_factory.mktemp("plugin") / "clew-cni"
    subprocess.run([ROOT / "scripts" / "build-cni", program], check=True, timeout=60)
    return program


class Agent:
    """Answers one call and keeps it."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.data = b""
        self.descriptors: list[int] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        with peer:
            while True:
                data, found, _, _ = socket.recv_fds(peer, 65536, 4)
                self.descriptors += found
                self.data += data
                if not data:
                    break
            peer.sendall(self._answer)

    def join(self) -> None:
        self._thread.join(10)
        self._listener.close()


def execute(
    plugin: Path,
    tmp_path: Path,
    command: str,
    ns: str = "",
    *,
    filler: int = 0,
    kind: str = "clew-cni",
    version: str = "1.0.0",
) -> tuple[int, str]:
    config = {
        "cniVersion": version, "name": "clew", "type": kind, "filler": "x" * filler,
        "agentSocket": str(tmp_path / "sock"), "agentSpool": str(tmp_path / "spool"),
    }  # fmt: skip
    env = {"CNI_COMMAND": command, "CNI_CONTAINERID": "abc", "CNI_IFNAME": "eth0", "CNI_PATH": "/x", "OTHER": "unseen"}
    env |= {"CNI_NETNS": ns} if ns else {}
    return given(plugin, env, json.dumps(config, indent=1))


def given(plugin: Path, env: dict[str, str], text: str) -> tuple[int, str]:
    done = subprocess.run([plugin], input=text.encode(), env=env, capture_output=True, timeout=30, check=False)
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def test_a_call_is_passed_on_whole_with_the_namespace(plugin: Path, tmp_path: Path) -> None:
    agent = Agent(tmp_path / "sock", framing.encode_answer(b'{"ips":[]}', failed=False))
    (tmp_path / "ns").write_text("the namespace")
    assert execute(plugin, tmp_path, "ADD", str(tmp_path / "ns"), filler=300_000) == (0, '{"ips":[]}')
    agent.join()
    env, config = framing.decode_call(agent.data)
    assert env == {
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_IFNAME": "eth0", "CNI_PATH": "/x",
        "CNI_NETNS": str(tmp_path / "ns"),
    }  # fmt: skip
    assert json.loads(config)["filler"] == "x" * 300_000
    (descriptor,) = agent.descriptors
    assert os.read(descriptor, 100) == b"the namespace"
    os.close(descriptor)


def test_an_error_is_printed_and_the_status_is_one(plugin: Path, tmp_path: Path) -> None:
    agent = Agent(tmp_path / "sock", framing.encode_answer(b'{"code":101}', failed=True))
    (tmp_path / "ns").touch()
    assert execute(plugin, tmp_path, "ADD", str(tmp_path / "ns")) == (1, '{"code":101}')
    agent.join()
    for descriptor in agent.descriptors:
        os.close(descriptor)


def test_a_namespace_that_is_not_there(plugin: Path, tmp_path: Path) -> None:
    status, text = execute(plugin, tmp_path, "ADD", '/no"such')
    error = json.loads(text)
    assert (status, error["code"], error["cniVersion"]) == (1, 4, "1.0.0")
    assert "No such file" in error["msg"]


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
def test_nobody_answers(plugin: Path, tmp_path: Path, command: str, code: int) -> None:
    (tmp_path / "ns").touch()
    status, text = execute(plugin, tmp_path, command, str(tmp_path / "ns"))
    assert (status, json.loads(text)["code"]) == (1, code)
    assert str(tmp_path / "sock") in json.loads(text)["msg"]


@pytest.mark.parametrize(
    ("change", "text", "code", "words"),
    [
        ({"CNI_COMMAND": "FLY"}, "", 4, "CNI_COMMAND is 'FLY'"),
        ({"CNI_COMMAND": ""}, "", 4, "CNI_COMMAND is ''"),
        ({"CNI_CONTAINERID": "", "CNI_NETNS": ""}, "", 4, "not set, and ADD needs it: CNI_CONTAINERID, CNI_NETNS"),
        ({"CNI_COMMAND": "DEL", "CNI_IFNAME": ""}, "", 4, "not set, and DEL needs it: CNI_IFNAME"),
        ({"CNI_COMMAND": "STATUS", "CNI_PATH": "", "CNI_IFNAME": ""}, "", 4, "STATUS needs it: CNI_PATH"),
        ({"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "@"}, "{}", 4, "CNI_CONTAINERID is '@'"),
        ({"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "../x"}, "{}", 4, "CNI_CONTAINERID is '../x'"),
        ({"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "x" * 201}, "{}", 4, "CNI_CONTAINERID is 'xxx"),
        ({"CNI_COMMAND": "DEL", "CNI_IFNAME": "a/b"}, "{}", 4, "CNI_IFNAME is 'a/b'"),
        ({"CNI_NETNS": "/a\tb\u00e9"}, "{}", 4, "CNI_NETNS is '/a b??'"),
        ({}, '{"cniVersion": "9\x07"}', 1, "CNI version '9 '"),
        ({}, '{"prevResult": {"cniVersion": "0.1.0"}, "cniVersion": "1.1.0", "agentSocket": "/n"}', 11, "answer at /n"),
        (
            {},
            '{"args": {"a": "agentSocket"}, "x": "\\\\\\"{", "cniVersion": "1.1.0", "agentSocket" : "/n"}',
            11,
            "at /n",
        ),
        ({}, "", 6, "no JSON object"),
        ({"CNI_COMMAND": "DEL"}, '{"cniVersion": "1.1.0"', 6, "no JSON object"),
        ({}, ' {"name": "x"} \n', 1, "CNI version '0.1.0' is not supported"),
        ({}, '{"cniVersion": "2.0.0"}', 1, "CNI version '2.0.0' is not supported"),
    ],
)
def test_what_is_wrong_is_not_to_be_tried_again(
    plugin: Path, change: dict[str, str], text: str, code: int, words: str
) -> None:
    """Nor where no agent can say so: a runtime that is told 11 calls for ever, and such a DEL was buried for nobody."""
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_IFNAME": "eth0", "CNI_PATH": "/x"}
    status, answer = given(plugin, {**env, "CNI_NETNS": "/proc/self/ns/net", **change}, text)
    assert (status, json.loads(answer)["code"]) == (1, code)
    assert words in json.loads(answer)["msg"]


def test_no_standard_input(plugin: Path) -> None:
    """One in Python said nothing but a traceback."""
    env = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/x"}
    command = ["sh", "-c", 'exec "$0" <&-', plugin]
    done = subprocess.run(command, env=env, capture_output=True, timeout=30, check=False)
    assert (done.returncode, json.loads(done.stdout)["code"], done.stderr) == (1, 5, b"")


def test_a_configuration_without_end(plugin: Path, tmp_path: Path) -> None:
    status, text = execute(plugin, tmp_path, "ADD", "/proc/self/ns/net", filler=framing.LARGEST)
    assert (status, json.loads(text)["code"]) == (1, 7)
    assert "is longer than 104" in json.loads(text)["msg"]
    assert execute(plugin, tmp_path, "DEL", filler=framing.LARGEST) == (0, ""), "it must succeed"


def test_of_a_loopback_interface_nothing_is_left_to_be_done(plugin: Path, tmp_path: Path) -> None:
    assert execute(plugin, tmp_path, "DEL", kind="loopback") == (0, "")
    assert not (tmp_path / "spool").exists()
    assert execute(plugin, tmp_path, "CHECK", kind="loopback")[0] == 1


def test_an_agent_that_dies_in_the_middle(plugin: Path, tmp_path: Path) -> None:
    agent = Agent(tmp_path / "sock", b"")
    (tmp_path / "ns").touch()
    status, text = execute(plugin, tmp_path, "ADD", str(tmp_path / "ns"))
    agent.join()
    for descriptor in agent.descriptors:
        os.close(descriptor)
    assert (status, json.loads(text)["code"]) == (1, 11)


def test_a_del_is_buried_once(plugin: Path, tmp_path: Path) -> None:
    assert execute(plugin, tmp_path, "DEL") == (0, "")
    assert execute(plugin, tmp_path, "DEL") == (0, "")
    (tombstone,) = (tmp_path / "spool").iterdir()
    assert tombstone.stat().st_mode & 0o777 == 0o600
    call = parse(*framing.decode_call(tombstone.read_bytes()))
    assert (call.command, call.key) == ("DEL", ("abc", "eth0"))


def test_a_del_that_cannot_be_buried(plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    status, text = execute(plugin, tmp_path, "DEL")
    assert (status, json.loads(text)["code"]) == (1, 11)


def test_versions_need_no_agent(plugin: Path, tmp_path: Path) -> None:
    status, text = execute(plugin, tmp_path, "VERSION")
    found: dict[str, Any] = json.loads(text)
    assert status == 0
    assert found["cniVersion"] == "1.0.0", "that of the question, as the specification has it"
    assert json.loads(execute(plugin, tmp_path, "VERSION", version="9.8.7")[1])["cniVersion"] == "1.1.0"
    assert found["supportedVersions"] == ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_a_message_is_json_whatever_is_in_it(plugin: Path, tmp_path: Path) -> None:
    status, text = execute(plugin, tmp_path, "ADD", 'a\\b"c\nd')
    error = json.loads(text)
    assert (status, error["code"]) == (1, 4)
    assert error["msg"].startswith("CNI_NETNS is 'a\\b'c d'")


def test_the_static_one_is_installed_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    static = tmp_path / "clew-cni.static"
    static.write_bytes(b"ELF")
    monkeypatch.setattr(install, "STATIC", static)
    paths = install.CniPaths(tmp_path / "bin", tmp_path / "x.conflist", tmp_path / "sock", tmp_path / "spool")
    install.install_plugin(paths)
    assert (tmp_path / "bin" / "clew-cni").read_bytes() == b"ELF"


def test_it_loads_nothing_but_what_is_built_in() -> None:
    """Each import would be paid for by every pod; 8 ms of CPU is nearly all the interpreter's own start."""
    probe = f"import sys; before = set(sys.modules); source = open({str(PLUGIN)!r}).read().rsplit('main()', 1)[0]\n"
    probe += "exec(compile(source, 'p', 'exec')); print(sorted(set(sys.modules) - before))"
    done = subprocess.run(["/usr/bin/python3", "-IS", "-c", probe], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout.replace("'", '"'))) <= {"_socket"}
