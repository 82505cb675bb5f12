"""Every pod of pods.yaml in one lab, seen with the real kubectl: what Kubernetes promises of a pod on a node."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .small_lab import SmallLab, eventually, small_lab

pytestmark = pytest.mark.root
PODS = Path(__file__).with_name("pods.yaml")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    with small_lab(f"pods{os.getpid()}", tmp_path_factory.mktemp("pods"), "--nodes", "1") as lab:
        lab.apply(PODS.read_text())
        yield lab


def test_the_environment_comes_from_everywhere_and_is_expanded(lab: SmallLab) -> None:
    text = lab.ended("env")
    pod = lab.pod("env")
    for line in (
        "CM_colour=blue", "CM_shape=round", "CM_1.odd=kept", "user=admin", "password=p$(X)", "COLOUR=blue",
        "PASSWORD=p$(X)", "GREETING=hello blue $(NOBODY) $(COLOUR)", "arg=hello blue blue $(COLOUR)", "POD_NAME=env",
        "POD_NS=default", "NODE=node-1", "SA=default", "TIER=one", "NOTE=line one", "CPU=2", "CPU_M=100", "MEM=64",
        "HOST_IP=172.30.0.11", f"POD_IP={pod['status']['podIP']}", f"POD_UID={pod['metadata']['uid']}",
        "MY_DB_SERVICE_PORT_SQL=5432", "MY_DB_PORT_5432_TCP_PROTO=tcp", "KUBERNETES_SERVICE_HOST=10.96.0.1",
        "KUBERNETES_SERVICE_PORT=443", "HOSTNAME=env",
    ):  # fmt: skip
        assert line in text.splitlines(), text
    assert "MISSING=" not in text


def test_names_and_resolvers_are_what_the_pod_asks_for(lab: SmallLab) -> None:
    assert lab.ended("fqdn").splitlines() == ["chosen.sub.default.svc.cluster.local", "nameserver 9.9.9.9"]
    text = lab.ended("nolinks")
    address = lab.pod("nolinks")["status"]["podIP"]
    assert f"{address}\tchosen.sub.default.svc.cluster.local\tchosen" in text
    assert "1.2.3.4\tfoo.local\tbar" in text
    assert text.endswith(
        "search default.svc.cluster.local svc.cluster.local cluster.local extra.example\n"
        "nameserver 10.96.0.10\nnameserver 9.9.9.9\noptions ndots:2 edns0\nchosen\n"
    )
    assert text.startswith("0\n1\n")  # no variable of my-db, the API server's all the same


def test_volumes_hold_what_they_show_with_modes_and_owners(lab: SmallLab) -> None:
    text = lab.ended("volumes").splitlines()
    assert [line for line in text if not line.startswith("sh: ")] == [
        "uid=1000 gid=3000 groups=2000,3000,4000",
        "blue", "440 2000",  # the item's own mode; fsGroup's
        "644 0 2000", "440 0 2000", "..data/colour", "..",
        "0",  # an optional object that is not there
        "2777 2000", "1000 2000",
        "4096", "tmpfs",
        'a="b"', "500", "roundadminvolumes", "1",
        "ro", "ro2", "kept", "/expr", "1",
    ]  # fmt: skip


def test_what_ends_is_restarted_as_its_policy_says(lab: SmallLab) -> None:
    assert lab.ended("onfailure") == "second\n"  # a fresh root file system: `ls /fresh` finds nothing
    assert lab.status("onfailure")["restartCount"] == 1
    lab.ended("never")
    ended = lab.status("never")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (5, "Error", "to the log\n")
    assert lab.status("never")["restartCount"] == 0


def test_a_container_that_keeps_ending_waits_longer_each_time(lab: SmallLab) -> None:
    seen: dict[str, Any] = {}

    def waits_longer() -> bool:
        seen.update(lab.status("crash"))  # it runs again between two looks
        return bool(seen["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff")

    eventually(waits_longer, 30)
    status, uid = seen, lab.pod("crash")["metadata"]["uid"]
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert status["lastState"]["terminated"]["message"] == "last words\n"
    waits = re.fullmatch(
        rf"back-off (10s|20s|40s|1m20s) restarting failed container=main pod=crash_default\({uid}\)",
        status["state"]["waiting"]["message"],
    )
    assert waits, status
    assert lab.logs("crash", "-p") == "try\n"
    told = f"Back-off restarting failed container main in pod crash_default({uid})"
    eventually(lambda: ("BackOff", told) in lab.events("crash"))


def test_init_containers_come_in_order_and_sidecars_stay(lab: SmallLab) -> None:
    lab.ended("inits")
    assert lab.logs("inits", "-c", "main") == "one\nside\ntwo\n"
    assert lab.logs("inits", "-c", "side") == "side ends\n"  # told to end once the main container was done
    assert lab.pod("inits")["status"]["phase"] == "Succeeded"
    lab.ended_badly("badinit")
    status = lab.pod("badinit")["status"]
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 4
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_rights_are_those_of_the_security_context(lab: SmallLab) -> None:
    said = {
        "default": ["0", "CapEff:\t00000000a80425fb", "Seccomp:\t2", "20000\t30000", "writable", "NoNewPrivs:\t0",
                    "1", "1"],
        "tight": ["1234", "CapBnd:\t0000000000000400", "readonly", "NoNewPrivs:\t1"],
        "free": ["Seccomp:\t0", "mounted", "/dev/null"],
        "unconfined": ["Seccomp:\t0", "admin"],
    }  # fmt: skip
    lab.ended("users", logs=False)
    assert {name: lab.logs("users", "-c", name).splitlines() for name in said} == said


STUCK = [  # pod, the container's reason, a part of its message, an Event
    ("nonroot", "CreateContainerConfigError", "container has runAsNonRoot and image will run as root", "Failed"),
    ("nocm", "CreateContainerConfigError", 'configmap "nowhere" not found', "Failed"),
    ("noimage", "ImagePullBackOff", 'Back-off pulling image "nowhere.invalid/a/b:1": ErrImagePull: ', "BackOff"),
    ("nevernow", "ErrImageNeverPull", "is not present with pull policy of Never", "ErrImageNeverPull"),
    ("badname", "InvalidImageName", "repository name (library/Nginx) must be lowercase", "InspectFailed"),
    ("hostpathbad", "ContainerCreating", "", "FailedMount"),
    ("novol", "ContainerCreating", "", "FailedMount"),
]


@pytest.mark.parametrize(("pod", "reason", "message", "event"), STUCK, ids=[row[0] for row in STUCK])
def test_what_cannot_start_says_why(lab: SmallLab, pod: str, reason: str, message: str, event: str) -> None:
    def waits() -> bool:
        waiting = lab.status(pod)["state"].get("waiting", {})  # a pull that is tried again has other words meanwhile
        return waiting.get("reason") == reason and message in waiting.get("message", "")

    eventually(waits, what=f"{pod} {reason}: {message}")
    eventually(lambda: event in dict(lab.events(pod)), what=f"{pod} {event}")
    assert lab.pod(pod)["status"]["phase"] == "Pending"


def test_what_cannot_be_executed_has_not_started(lab: SmallLab) -> None:
    lab.ended_badly("nocommand")
    ended = lab.status("nocommand")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert 'exec: "/does/not/exist": stat /does/not/exist: no such file or directory' in ended["message"]


def test_limits_are_kept(lab: SmallLab) -> None:
    lab.ended_badly("oom")
    assert lab.status("oom")["state"]["terminated"]["reason"] == "OOMKilled"
    lab.ended_badly("deadline")
    status = lab.pod("deadline")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_stand_in_is_said_to_be_one(lab: SmallLab) -> None:
    pulled = re.compile(
        r'Successfully pulled image "busybox" in \d+ms \(\d+ms including waiting\)\. Image size: [1-9]\d+ bytes\.'
    )
    eventually(lambda: any(pulled.fullmatch(message) for _, message in lab.events("never")), what="it was pulled")
    said = '"busybox" is served by a stand-in: this machine\'s static busybox'
    eventually(lambda: ("StandIn", said) in lab.events("never"))


def namespaces(lab: SmallLab, pod: str, container: str) -> dict[str, str]:
    listed = "cd /proc/$$/ns; ls -l net ipc uts pid mnt | sed s/.*..-..//"
    found = lab.kubectl("exec", pod, "-c", container, "--", "sh", "-c", listed).stdout.split()
    return {each.partition(":")[0]: each for each in found}


def test_containers_share_one_network_and_one_link(lab: SmallLab) -> None:
    lab.wait("separate")
    got = lab.kubectl("exec", "separate", "-c", "b", "--", "wget", "-qO-", "http://127.0.0.1:8080/")
    assert "404" in got.stderr  # answered: the server in the other container has no page
    first, second = namespaces(lab, "separate", "a"), namespaces(lab, "separate", "b")
    assert {kind for kind in first if first[kind] == second[kind]} == {"net", "ipc", "uts"}
    at = lab.pod("separate")["status"]["podIP"]
    addresses = lab.kubectl("exec", "separate", "-c", "b", "--", "ip", "-4", "-o", "addr", "show", "eth0").stdout
    assert f" {at}/24 " in addresses
    inner = lab.kubectl("exec", "separate", "-c", "a", "--", "cat", "/sys/class/net/eth0/iflink").stdout.strip()
    links = lab.clew("node", "exec", "node-1", "--", "ip", "-o", "link", "show", "type", "veth").stdout.splitlines()
    assert len([line for line in links if line.startswith(f"{inner}: ")]) == 1
    listed = ("node", "exec", "node-1", "--", "lsns", "-n", "-l", "-t", "net", "-o", "NS,NPROCS,COMMAND")

    def holders() -> list[list[str]]:
        lines = [line.split() for line in lab.clew(*listed).stdout.splitlines()]
        return [words[1:] for words in lines if f"net:[{words[0]}]" == first["net"]]

    eventually(lambda: holders() == [["3", "/pause"]], what="what was executed in it has ended")


def test_processes_are_shared_where_the_pod_says_so(lab: SmallLab) -> None:
    lab.wait("shared")
    seen = lab.kubectl("exec", "shared", "-c", "a", "--", "ps").stdout
    assert [word in seen for word in ("/pause", "sleep 601", "sleep 602")] == [True] * 3
    alone = lab.kubectl("exec", "separate", "-c", "b", "--", "ps").stdout
    assert "httpd" not in alone
    of_the_host = lab.ended("host").splitlines()
    assert of_the_host[:2] == ["172.30.0.11/24", "node-1"]
    assert int(of_the_host[2]) > 0
    assert of_the_host[3:] == ["nameserver 172.30.0.100"]
    assert lab.pod("host")["status"]["podIP"] == "172.30.0.11"


def test_host_paths_are_the_nodes(lab: SmallLab) -> None:
    assert lab.ended("hostpath").splitlines() == ["/made/x", "file"]
    assert lab.clew("node", "exec", "node-1", "--", "cat", "/data/made/x").stdout == "persisted\n"
    assert not Path("/data/made/x").exists()


def ready(lab: SmallLab, pod: str) -> dict[str, bool]:
    return {each["name"]: each["ready"] for each in lab.pod(pod)["status"]["containerStatuses"]}


def test_probes_decide_readiness_and_restarts(lab: SmallLab) -> None:
    eventually(lambda: ready(lab, "probes")["http"] and ready(lab, "probes")["flip"])
    lab.kubectl("exec", "probes", "-c", "flip", "--", "rm", "/ok")
    eventually(lambda: not ready(lab, "probes")["flip"], what="a probe that fails without a word")
    lab.kubectl("exec", "probes", "-c", "flip", "--", "touch", "/ok")
    eventually(lambda: ready(lab, "probes")["flip"])
    eventually(lambda: lab.status("probes", 2)["restartCount"] >= 1)
    for told in (
        ("Unhealthy", "Liveness probe failed: not well\n"),
        ("Killing", "Container sick failed liveness probe, will be restarted"),
    ):
        eventually(lambda told=told: told in lab.events("probes"), what=str(told))
    assert lab.status("probes", 1)["restartCount"] == 0


def test_readiness_gates_are_heard_and_conditions_of_the_kubelet_restored(lab: SmallLab) -> None:
    """The kubelet trusted what it had written itself: it never saw a gate that somebody else set later."""
    lab.wait("gates", "jsonpath={.status.conditions[?(@.type=='ContainersReady')].status}=True")
    conditions = {each["type"]: each for each in lab.pod("gates")["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == "ReadinessGatesNotReady"
    patch = '{"status":{"conditions":[{"type":"example.com/ok","status":"True"}]}}'
    done = lab.kubectl("patch", "pod", "gates", "--subresource=status", "--type=merge", "-p", patch)
    assert done.returncode == 0, done.stderr
    lab.wait("gates")
    eventually(lambda: {each["type"] for each in lab.pod("gates")["status"]["conditions"]} == set(conditions)
               | {"example.com/ok"})  # fmt: skip


def test_hooks_run_and_the_end_is_graceful(lab: SmallLab) -> None:
    lab.wait("hooks")
    assert lab.kubectl("delete", "pod", "hooks").returncode == 0
    order = lab.clew("node", "exec", "node-1", "--", "cat", "/data/hooks/order").stdout
    assert order.split() == ["postStart", "preStop", "TERM"]


def test_a_terminal_is_one(lab: SmallLab) -> None:
    lab.wait("tty")
    tried = "tty; echo out; exit 3"
    done = lab.kubectl("exec", "-i", "tty", "--", "sh", "-c", "cat; echo err >&2; exit 4", text="input\n")
    assert (done.stdout, done.returncode) == ("input\n", 4)
    assert done.stderr.startswith("err\n")
    ours, theirs = pty.openpty()
    try:
        typed = subprocess.run(
            ["kubectl", "exec", "-it", "tty", "--", "sh", "-c", tried],
            stdin=theirs, capture_output=True, text=True, timeout=30, check=False, env=lab.environment,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert typed.stdout.splitlines()[:2] == ["/dev/pts/1", "out"]
    assert typed.returncode == 3


def test_logs_are_cut_as_asked(lab: SmallLab) -> None:
    lab.wait("work")
    eventually(lambda: "line 5\n" in lab.logs("work"))
    assert lab.logs("work", "--limit-bytes=9") == "line 1\nli"
    last = lab.logs("work", "--tail=2").splitlines()
    assert len(last) == 2
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line \d+\n", lab.logs("work", "--tail=1", "--timestamps")
    )
    assert len(lab.logs("work", "--since=1s").splitlines()) < len(lab.logs("work").splitlines())
    follower = subprocess.Popen(
        ["kubectl", "logs", "-f", "work", "--tail=1"], stdout=subprocess.PIPE, text=True, env=lab.environment
    )
    try:
        assert follower.stdout is not None
        lines = [follower.stdout.readline() for _ in range(4)]
    finally:
        follower.kill()
        follower.communicate()
    numbers = [int(line.split()[1]) for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + 4))


def test_a_killed_container_is_made_anew_in_the_same_pod(lab: SmallLab) -> None:
    lab.wait("again")
    at = lab.pod("again")["status"]["podIP"]
    eventually(lambda: lab.logs("again") == "none none\n", what="it has begun")
    lab.kubectl("exec", "again", "--", "sh", "-c", "kill -9 1")
    lab.kubectl("exec", "again", "--", "kill", "-TERM", "1")
    lab.wait("again", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    lab.wait("again")
    assert lab.pod("again")["status"]["podIP"] == at
    # the root file system is new, the emptyDir is not
    eventually(lambda: lab.logs("again") == "none kept\n", what="it has begun again")
    assert lab.logs("again", "-p") == "none none\n"
    assert lab.status("again")["lastState"]["terminated"]["exitCode"] == 143


def test_another_image_replaces_the_container(lab: SmallLab) -> None:
    lab.wait("moved")
    assert lab.kubectl("set", "image", "pod/moved", "main=busybox:1.36").returncode == 0
    lab.wait("moved", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    assert lab.status("moved")["image"] == "busybox:1.36"
    told = ("Killing", "Container main definition changed, will be restarted")
    eventually(lambda: told in lab.events("moved"), what=str(told))


def test_volumes_follow_their_objects(lab: SmallLab) -> None:
    lab.wait("follows")
    read = ("exec", "follows", "--", "cat", "/cm/word", "/pod/labels")
    assert lab.kubectl(*read).stdout == "old\n"
    lab.kubectl("patch", "configmap", "changing", "-p", '{"data":{"word":"new\\n"}}')
    lab.kubectl("label", "pod", "follows", "to=day")
    eventually(lambda: lab.kubectl(*read).stdout == 'new\nto="day"')


def test_a_debugger_joins_the_pod(lab: SmallLab) -> None:
    lab.wait("separate")
    done = lab.kubectl(
        "debug", "separate", "--image=busybox", "--target=a", "-i", "-q", "--", "sh", "-c", "ps; hostname; exit 0"
    )
    assert "httpd -f -p 8080" in done.stdout, done.stderr
    assert "separate" in done.stdout.splitlines()
    found = lab.pod("separate")["status"]["ephemeralContainerStatuses"]
    eventually(lambda: "terminated" in lab.pod("separate")["status"]["ephemeralContainerStatuses"][0]["state"])
    assert len(found) == 1
    assert lab.status("separate")["restartCount"] == 0


def test_force_means_now(lab: SmallLab) -> None:
    lab.wait("stubborn")
    assert lab.kubectl("delete", "pod", "stubborn", "--force", "--grace-period=0", seconds=10).returncode == 0
    assert lab.kubectl("get", "pod", "stubborn").returncode == 1

    def processes() -> str:
        return lab.clew("node", "exec", "node-1", "--", "ps", "ax").stdout

    eventually(lambda: "sleep 98765" not in processes(), what="a forced end that leaves no process")


def test_a_host_port_leads_to_its_pod_and_no_second_pod_gets_it(lab: SmallLab) -> None:
    lab.wait("hostport")
    got = lab.clew("node", "exec", "outside", "--", "curl", "-s", "-m", "5", "http://172.30.0.11:18080/hostname")
    assert got.stdout == "hostport", got.stderr
    pod = lab.pod("hostport")
    spec = {"containers": [{"name": "main", "image": "agnhost", "ports": pod["spec"]["containers"][0]["ports"]}]}
    second = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "second"}, "spec": spec}
    lab.apply(json.dumps(second))

    def told() -> str:
        return dict(lab.events("second")).get("FailedScheduling", "")

    eventually(lambda: "1 node(s) didn't have free ports for the requested pod ports" in told(), what="it stays away")
    lab.kubectl("delete", "pod", "hostport", "--force", "--grace-period=0")
    lab.wait("second")


def test_processes_of_a_node_have_names_that_say_what_they_are(lab: SmallLab) -> None:
    shown = lab.clew("node", "exec", "node-1", "--", "ps", "-o", "args=", "-p", "1").stdout
    assert shown == "clew: node node-1\n"
