"""Rollouts as kubectl tells them: status, history, undo, pause, restart, deadlines; of deployments and daemon sets."""

import json
import re

import pytest

from .small_lab import eventually
from .typing_user import User, like

pytestmark = pytest.mark.root

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 4
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: nginx}]
"""
EACH = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: each}
spec:
  selector: {matchLabels: {app: each}}
  template:
    metadata: {labels: {app: each}}
    spec: {containers: [{name: each, image: nginx}]}
"""


@pytest.fixture
def web(user: User) -> User:
    """Four pods of revision 1, rolled out."""
    user.says("delete deployment web --ignore-not-found --cascade=foreground")
    user.says("apply -f -", WEB)
    user.says("rollout status deployment/web --timeout=60s")
    return user


def test_a_rolling_update_keeps_its_numbers(web: User) -> None:
    """One more and one fewer than four at any time; the texts that kubectl has for what it sees."""
    with web.running("get deployment web -w -o json") as watcher:
        watcher.until('"kind": "Deployment"')
        web.says("rollout pause deployment/web")
        assert web.says("set image deployment/web web=nginx:2") == "deployment.apps/web image updated\n"
        with web.running("rollout status deployment/web --timeout=60s") as follower:
            follower.until("out of 4 new replicas")  # it looks from the first moment on
            web.says("rollout resume deployment/web")
            told = follower.rest().splitlines()
        watcher.until('"updatedReplicas": 4')
    assert told[-1] == 'deployment "web" successfully rolled out'
    waiting = {line.partition("finish: ")[2] for line in told if "rollout to finish" in line}
    assert waiting & {f"{n} out of 4 new replicas have been updated..." for n in range(4)}, told
    decoder, text = json.JSONDecoder(), watcher.seen.lstrip()
    while text.startswith("{"):
        try:
            seen, end = decoder.raw_decode(text)
        except ValueError:  # cut where reading stopped
            break
        text = text[end:].lstrip()
        # a ReplicaSet counts a pod that its Deployment has given up until it has taken it away: one above the surge
        assert seen["status"].get("replicas", 0) <= 6
        assert seen["status"].get("availableReplicas", 0) >= 3


def test_history_and_undo(web: User) -> None:
    web.says("set image deployment/web web=nginx:2")
    web.says("annotate deployment/web kubernetes.io/change-cause=newer")
    web.says("rollout status deployment/web --timeout=60s")
    like(web.says("rollout history deployment/web"), """
        deployment.apps/web
        REVISION  CHANGE-CAUSE
        1         <none>
        2         newer
        """)  # fmt: skip
    assert "nginx:2" in web.says("rollout history deployment/web --revision=2")
    assert "unable to find specified revision 9 in history" in web.refuses(
        "rollout undo deployment/web --to-revision=9"
    )
    assert (
        web.says("rollout undo deployment/web --dry-run=server") == "deployment.apps/web rolled back (server dry run)\n"
    )
    assert web.says("rollout undo deployment/web") == "deployment.apps/web rolled back\n"
    web.says("rollout status deployment/web --timeout=60s")
    assert web.says("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}") == "nginx"
    like(web.says("rollout history deployment/web"), """
        deployment.apps/web
        REVISION  CHANGE-CAUSE
        2         newer
        3         …
        """)  # fmt: skip
    assert web.says("rollout undo deployment/web --to-revision=2") == "deployment.apps/web rolled back\n"
    web.says("rollout status deployment/web --timeout=60s")
    like(web.says("get replicasets -l app=web"), """
        NAME   DESIRED  CURRENT  READY  AGE
        web-…  …
        web-…  …""")  # fmt: skip


def test_a_paused_deployment_waits_and_a_restart_replaces_every_pod(web: User) -> None:
    before = set(web.says("get pods -l app=web -o name").split())
    assert web.says("rollout pause deployment/web") == "deployment.apps/web paused\n"
    assert "is already paused" in web.refuses("rollout pause deployment/web")
    web.says("set image deployment/web web=nginx:2")

    def waits() -> bool:
        looked = web.types("rollout status deployment/web --timeout=1s")
        assert looked.returncode == 1
        return "0 out of 4 new replicas have been updated..." in looked.stdout

    eventually(waits, 20, "kubectl says for what it waits")
    assert "can't restart paused deployment" in web.refuses("rollout restart deployment/web")
    eventually(lambda: "DeploymentPaused" in web.says("describe deployment web"), 20, "it is said to be paused")
    assert web.says("rollout resume deployment/web") == "deployment.apps/web resumed\n"
    web.says("rollout status deployment/web --timeout=60s")
    assert web.says("rollout restart deployment/web") == "deployment.apps/web restarted\n"
    web.says("rollout status deployment/web --timeout=60s")
    web.says("wait --for=delete " + " ".join(before) + " --timeout=30s")
    assert not before & set(web.says("get pods -l app=web -o name").split())


def test_an_image_that_cannot_be_had_ends_at_the_deadline_and_undo_repairs_it(web: User) -> None:
    web.says("""patch deployment web -p '{"spec":{"progressDeadlineSeconds":3}}'""")
    web.says("set image deployment/web web=nobody.invalid/nothing:1")
    assert web.refuses("rollout status deployment/web --timeout=60s") == (
        'error: deployment "web" exceeded its progress deadline\n'
    )
    described = web.says("describe deployment web")
    like(described.partition("Conditions:\n")[2].partition("OldReplicaSets")[0], """
        Type         Status  Reason
        ----         ------  ------
        Available    True    MinimumReplicasAvailable
        Progressing  False   ProgressDeadlineExceeded""")  # fmt: skip
    web.until("get deployment web --no-headers", "web 3/4 2 3 …s")
    eventually(lambda: web.says("get pods -l app=web --no-headers").count("ImagePull") == 2, 20, "two wait for it")
    web.says("rollout undo deployment/web")
    web.says("rollout status deployment/web --timeout=60s")
    like(web.says("get deployment web --no-headers"), "web 4/4 4 4 …s")


def test_recreate_ends_the_old_before_the_new(web: User) -> None:
    web.says("""patch deployment web -p '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}'""")
    web.says("set image deployment/web web=nginx:2")
    web.says("rollout status deployment/web --timeout=60s")
    scaled = re.findall(r"Scaled (up|down) replica set \S+ from (\d) to (\d)", web.says("describe deployment web"))
    assert scaled[-2:] == [("down", "4", "0"), ("up", "0", "4")]


def test_a_daemon_set_rolls_node_by_node_and_remembers(user: User) -> None:
    user.says("apply -f -", EACH)
    assert user.says("rollout status daemonset/each --timeout=60s").endswith(
        'daemon set "each" successfully rolled out\n'
    )
    like(user.says("get daemonset each -o wide"), """
        NAME  DESIRED  CURRENT  READY  UP-TO-DATE  AVAILABLE  NODE SELECTOR  AGE  …
        each  3        3        3      3           3          <none>         …s   each nginx app=each""")  # fmt: skip
    user.says("set image daemonset/each each=nginx:2")
    told = user.says("rollout status daemonset/each --timeout=60s")
    assert "out of 3 new pods have been updated..." in told
    like(user.says("rollout history daemonset/each"), """
        daemonset.apps/each
        REVISION  CHANGE-CAUSE
        1         <none>
        2         <none>
        """)  # fmt: skip
    user.says("rollout undo daemonset/each")
    user.says("rollout status daemonset/each --timeout=60s")
    assert user.says("get ds each -o jsonpath={.spec.template.spec.containers[0].image}") == "nginx"
    user.says("""patch daemonset each -p '{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}'""")
    user.says("set image daemonset/each each=nginx:3")
    assert "only available for RollingUpdate strategy type" in user.refuses("rollout status daemonset/each")
    user.says("delete pod -l app=each --field-selector=spec.nodeName=node-1")
    images = "get pods -l app=each --sort-by=.spec.nodeName -o jsonpath={.items[*].spec.containers[0].image}"
    user.until(images, "nginx:3 nginx nginx")
    user.says("""patch daemonset each -p '{"spec":{"template":{"spec":{"nodeSelector":{"nobody":"has"}}}}}'""")
    user.until("get daemonset each --no-headers", "each 0 0 0 0 0 nobody=has …s")
    user.says("delete daemonset each")
