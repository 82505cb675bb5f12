"""Several processes behind one address: all answer, one page counts for all, and they live and die together."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.query
from tests.free_port import free_port

from clew.app.dns_workers import merged

MANY = 60


def page(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()  # type: ignore[no-any-return]
    except OSError:
        return ""


def eventually(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def asked(port: int, *, tcp: bool) -> str:
    query = dns.message.make_query("who.test.", "A")
    answer = (dns.query.tcp if tcp else dns.query.udp)(query, "127.0.0.1", port=port, timeout=20)
    return str(answer.answer[0][0])


def test_three_answer_as_one_and_end_as_one(tmp_path: Path) -> None:
    port, metrics, ready = free_port(), free_port(), free_port()
    conf = tmp_path / "Corefile"
    conf.write_text(
        f".:{port} {{\n bind 127.0.0.1\n prometheus 127.0.0.1:{metrics}\n ready 127.0.0.1:{ready}\n"
        " hosts {\n 192.0.2.1 who.test\n }\n}\n"
    )
    command = [sys.executable, "-c", "from clew.cli.main import main; main()", "dns", "--conf", conf, "--workers", "3"]
    leader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: page(ready, "/ready") == "OK")
        assert len(children(leader.pid)) == 2
        for number in range(MANY):
            assert asked(port, tcp=number % 3 == 0) == "192.0.2.1"
        total = (
            f'coredns_dns_responses_total{{server="dns://:{port}",zone=".",view="",rcode="NOERROR",plugin=""}} {MANY}'
        )
        eventually(lambda: total in page(metrics, "/metrics"))
        assert 'coredns_build_info{version="' in page(metrics, "/metrics")
        alone = [int(line.split()[1].split(":")[1], 16) for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        assert alone.count(port) == 3
        os.kill(children(leader.pid)[0], signal.SIGKILL)
        _, said = leader.communicate(timeout=60)
        assert leader.returncode == 1
        assert "has ended" in said
        assert "Traceback" not in said
    finally:
        leader.kill()
        leader.wait(60)


def test_an_orderly_end_leaves_no_worker(tmp_path: Path) -> None:
    port = free_port()
    conf = tmp_path / "Corefile"
    conf.write_text(f".:{port} {{\n bind 127.0.0.1\n hosts {{\n 192.0.2.1 who.test\n }}\n}}\n")
    command = [sys.executable, "-c", "from clew.cli.main import main; main()", "dns", "--conf", conf, "--workers", "2"]
    leader = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        eventually(lambda: Path("/proc/net/udp").read_text().upper().count(f":{port:04X} 00000000") == 2)
        (worker,) = children(leader.pid)
        leader.terminate()
        assert leader.wait(60) == 0
        eventually(lambda: not Path(f"/proc/{worker}").exists())
    finally:
        leader.kill()
        leader.wait(60)


def test_numbers_are_added_and_what_is_said_alike_is_not() -> None:
    one = '# HELP a A.\n# TYPE a counter\na{x="1"} 2\n# HELP b_info B.\n# TYPE b_info gauge\nb_info 1\n'
    two = '# HELP a A.\n# TYPE a counter\na{x="1"} 3.5\na{x="2"} 1\n# HELP b_info B.\n# TYPE b_info gauge\nb_info 1\n'
    assert merged([one, two]) == (
        '# HELP a A.\n# TYPE a counter\na{x="1"} 5.5\na{x="2"} 1\n# HELP b_info B.\n# TYPE b_info gauge\nb_info 1\n'
    )
