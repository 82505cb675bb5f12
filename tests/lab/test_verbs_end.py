"""Watching, waiting and deleting with kubectl: get -w, wait, cascades, grace, namespaces, finalizers, custom kinds."""

import json
import time

import pytest

from .typing_user import User, like

pytestmark = pytest.mark.root

SLEEPER = """
apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec: {containers: [{name: a, image: busybox, command: [sleep, '100000']}]}
"""
BRIDGES = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: NAMEs.example.com}
spec:
  group: example.com
  names: {plural: NAMEs, singular: NAME, kind: KIND, categories: [all]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.lanes, statusReplicasPath: .status.lanes}}
    additionalPrinterColumns: [{name: Lanes, type: integer, jsonPath: .spec.lanes}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [lanes]
            properties:
              lanes: {type: integer, minimum: 1, description: How many cars side by side.}
              kind: {type: string, enum: [arch, beam], default: arch}
          status: {type: object, properties: {lanes: {type: integer}}}
"""


def test_a_watch_shows_a_pods_life(user: User) -> None:
    user.says("""run first --image=busybox --overrides='{"spec":{"schedulingGates":[{"name":"example.com/wait"}]}}'""")
    with user.running("get pods -w") as watcher, user.running("get pods -w --output-watch-events") as events:
        watcher.until(r"^first\s+0/1\s+SchedulingGated")
        events.until("^ADDED +first ")
        user.says("run brief --image=busybox --restart=Never -- true")
        watcher.until(r"brief\s+0/1\s+Pending\s+0")
        watcher.until(r"brief\s+0/1\s+ContainerCreating\s+0")
        watcher.until(r"brief\s+0/1\s+Completed\s+0")
        user.says("delete pod brief")
        events.until(r"^ADDED +brief .*\n(MODIFIED +brief .*\n)+DELETED +brief ")
    user.says("delete pod first")
    with user.running("get pod nobody -w") as watcher:
        assert 'pods "nobody" not found' in watcher.rest()


def test_waiting_for_a_condition_a_value_a_creation_and_an_end(user: User) -> None:
    user.says("apply -f -", SLEEPER)
    like(user.says("wait --for=condition=Ready pod/sleeper --timeout=30s"), "pod/sleeper condition met")
    like(user.says("wait --for=jsonpath={.status.phase}=Running pod/sleeper"), "pod/sleeper condition met")
    assert "timed out waiting for the condition on pods/sleeper" in user.refuses(
        "wait --for=condition=Nonsense pod/sleeper --timeout=1s"
    )
    assert user.refuses("wait --for=condition=Ready pod/nobody --timeout=1s") == (
        'Error from server (NotFound): pods "nobody" not found\n'
    )
    with user.running("wait --for=create configmap/late --timeout=20s") as waiter:
        user.says("create configmap late")
        like(waiter.rest(), "configmap/late condition met")
    with user.running("wait --for=delete pod/sleeper --timeout=30s") as waiter:
        began = time.monotonic()
        user.says("delete pod sleeper --grace-period=0 --force")
        waiter.rest()  # a kubectl that comes after the end says nothing
        assert waiter.process.returncode == 0
    assert time.monotonic() - began < 25, "forced, and yet its grace was waited for"


def test_grace_is_given_and_taken(user: User) -> None:
    user.says("apply -f -", SLEEPER)
    user.says("wait --for=condition=Ready pod/sleeper --timeout=30s")
    user.says("delete pod sleeper --wait=false")
    like(user.says("get pod sleeper --no-headers"), "sleeper 1/1 Terminating 0 …s")
    assert user.says("get pod sleeper -o jsonpath={.metadata.deletionGracePeriodSeconds}") == "30"
    user.says("delete pod sleeper --now")
    assert user.refuses("delete pod sleeper") == 'Error from server (NotFound): pods "sleeper" not found\n'
    assert not user.says("delete pod sleeper --ignore-not-found")
    user.says("run trapper --image=busybox -- sh -c 'trap \"echo bye; exit 0\" TERM; while :; do sleep 0.1; done'")
    user.says("wait --for=condition=Ready pod/trapper --timeout=30s")
    with user.running("logs -f trapper") as follower:
        user.says("delete pod trapper")
        assert follower.rest() == "bye\n"


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_deleting_with_what_it_owns(user: User, cascade: str) -> None:
    name = f"web-{cascade}"
    user.says(f"create deployment {name} --image=nginx")
    user.says(f"rollout status deployment {name} --timeout=60s")
    assert user.says(f"delete deployment {name} --cascade={cascade}").startswith(f'deployment.apps "{name}" deleted')
    if cascade == "foreground":
        assert not user.says(f"get rs,pods -l app={name} -o name")
    elif cascade == "background":
        user.until(f"get rs,pods -l app={name} -o name", "")
    else:
        left = [each.split("/")[0] for each in user.says(f"get rs,pods -l app={name} -o name").split()]
        assert left == ["replicaset.apps", "pod"]
        user.until(f"get rs -l app={name} -o jsonpath={{.items[*].metadata.ownerReferences}}", "")
        user.says(f"delete rs -l app={name} --cascade=foreground")
        assert not user.says(f"get pods -l app={name} -o name")


def test_finalizers_hold_an_object_and_its_namespace(user: User) -> None:
    ns = f"{user.namespace}-held"
    user.says(f"create namespace {ns}")
    user.says(f"create configmap held -n {ns}")
    user.says(f"""patch configmap held -n {ns} -p '{{"metadata":{{"finalizers":["example.com/hold"]}}}}'""")
    user.says(f"delete namespace {ns} --wait=false")
    like(user.says(f"get namespace {ns} --no-headers"), f"{ns} Terminating …s")
    remaining = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    select = '{.status.conditions[?(@.type=="NamespaceFinalizersRemaining")].message}'
    user.until(f"get namespace {ns} -o 'jsonpath={select}'", remaining)
    assert f"unable to create new content in namespace {ns} because it is being terminated" in user.refuses(
        f"create configmap new -n {ns}"
    )
    user.says(f"""patch configmap held -n {ns} --type=json -p '[{{"op":"remove","path":"/metadata/finalizers"}}]'""")
    user.says(f"wait --for=delete namespace/{ns} --timeout=30s")


def test_deleting_by_selector_by_file_and_all(user: User) -> None:
    for name in ("one", "two", "three"):
        user.says(f"create configmap {name}")
    user.says("label configmap one two set=both")
    assert user.says("delete configmap -l set=both").count("deleted") == 2
    assert user.types("delete configmap -l set=both").stdout == "No resources found\n"
    assert user.says("delete configmap three --dry-run=server").startswith('configmap "three" deleted')
    assert user.says("get configmap three -o name") == "configmap/three\n"
    assert user.says("delete configmap three -o name") == "configmap/three\n"


def test_events_are_listed_in_both_ways(user: User) -> None:
    user.says("run told --image=nginx")
    user.says("wait --for=condition=Ready pod/told --timeout=30s")
    # Events come a moment after what they tell
    rows = [line.split() for line in user.until("events --for pod/told", "⋮\n… Started …").splitlines()]
    assert rows[0] == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert [row[2] for row in rows[1:]] == ["Scheduled", "Pulling", "Pulled", "StandIn", "Created", "Started"]
    listed = user.says("get events --field-selector=involvedObject.name=told,reason=Scheduled --no-headers")
    like(listed, f"…s Normal Scheduled pod/told Successfully assigned {user.namespace}/told to node-…")
    user.says("delete pod told --now")


def test_a_kind_of_ones_own_is_a_kind_like_others(user: User) -> None:
    name = "bridge" + user.namespace.replace("-", "")
    kind = name.capitalize()
    user.says("apply -f -", BRIDGES.replace("NAME", name).replace("KIND", kind))
    user.says(f"wait --for=condition=Established crd/{name}s.example.com --timeout=20s")
    one = f"apiVersion: example.com/v1\nkind: {kind}\nmetadata: {{name: tower}}\nspec: {{lanes: 2}}\n"
    assert user.says("apply -f -", one) == f"{name}.example.com/tower created\n"
    assert user.says("apply -f -", one) == f"{name}.example.com/tower unchanged\n"
    like(user.says(f"get {name}"), """
        NAME   LANES
        tower  2""")  # fmt: skip
    assert user.says(f"get {name} tower -o jsonpath={{.spec.kind}}") == "arch"
    assert "How many cars side by side." in user.says(f"explain {name}.spec")
    refused = user.refuses("create -f -", one.replace("tower", "none").replace("lanes: 2", "lanes: 0, kind: rope"))
    assert "* spec.lanes: Invalid value: 0: spec.lanes in body should be greater than or equal to 1" in refused
    assert '* spec.kind: Unsupported value: "rope": supported values: "arch", "beam"' in refused
    assert 'unknown field "spec.toll"' in user.refuses("create -f -", one.replace("lanes: 2", "lanes: 2, toll: 1"))
    assert user.says(f"scale {name} tower --replicas=6").startswith(f"{name}.example.com/tower scaled")
    assert json.loads(user.says(f"get {name} tower -o json"))["spec"]["lanes"] == 6
    assert f"{name}.example.com/tower" in user.says("get all -o name").split()
    user.says(f"delete crd {name}s.example.com")
    # kubectl remembers for hours that it was there
    gone = f"the server could not find the requested resource (get {name}s.example.com)"
    user.types(f"get {name}")
    assert user.refuses(f"get {name}") in {
        f'Error from server (NotFound): Unable to list "example.com/v1, Resource={name}s": {gone}\n',
        f'error: the server doesn\'t have a resource type "{name}"\n',
    }
