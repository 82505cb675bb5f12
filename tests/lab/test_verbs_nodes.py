"""Nodes and who runs on them: cordon, drain, taints, selectors, and what the scheduler says of pods that wait."""

from collections.abc import Iterator

import pytest

from .typing_user import User, like

pytestmark = pytest.mark.root

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway,
         labelSelector: {matchLabels: {app: web}}}
      containers: [{name: web, image: nginx}]
"""
WAITING = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec: {SPEC, containers: [{name: a, image: busybox CONTAINER}]}
"""
NOWHERE = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
NEAR_NOBODY = (
    "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
    "[{labelSelector: {matchLabels: {no: body}}, topologyKey: kubernetes.io/hostname}]}}"
)
REASONS = {  # name: a pod's spec, its container, what the cluster lacks
    "greedy": ("terminationGracePeriodSeconds: 1", ', resources: {requests: {cpu: "1000"}}', "3 Insufficient cpu"),
    "picky": ("nodeSelector: {disk: golden}", "", "3 node(s) didn't match Pod's node affinity/selector"),
    "lonely": (NEAR_NOBODY, "", "3 node(s) didn't match pod affinity rules"),
    "keeper": (
        "volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]", "", 'persistentvolumeclaim "data" not found'
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def nodes_as_before(user: User) -> Iterator[None]:
    """The lab is shared: cordons, taints and labels go."""
    try:
        yield
    finally:
        user.types("uncordon node-1 node-2 node-3")
        user.types("taint nodes --all typed-")
        user.types("label nodes --all typed-")


def test_describe_node_sums_up(user: User) -> None:
    printed = user.says("describe node node-2")
    like(printed, """
        Name:               node-2
        Roles:              <none>
        Labels:             beta.kubernetes.io/arch=…
        ⋮
        Taints:             <none>
        Unschedulable:      false
        Lease:
          HolderIdentity:  node-2
          AcquireTime:     <unset>
          RenewTime:       …
        Conditions:
          Type             Status  LastHeartbeatTime  LastTransitionTime  Reason  Message
          ----             ------  -----------------  ------------------  ------  -------
          MemoryPressure   False   … KubeletHasSufficientMemory   kubelet has sufficient memory available
          DiskPressure     False   … KubeletHasNoDiskPressure     kubelet has no disk pressure
          PIDPressure      False   … KubeletHasSufficientPID      kubelet has sufficient PID available
          Ready            True    … KubeletReady                 kubelet is posting ready status
        Addresses:
          InternalIP:  172.30.0.12
          Hostname:    node-2
        Capacity:
        ⋮
        PodCIDR:                      10.244.…/24
        PodCIDRs:                     10.244.…/24
        Non-terminated Pods:          (… in total)
        ⋮
        Allocated resources:
        ⋮
        Events:
        ⋮""")  # fmt: skip
    told = {line.split()[1] for line in printed.partition("Events:")[2].splitlines()[3:]}
    assert {"RegisteredNode", "NodeReady"} <= told, printed


@pytest.mark.parametrize("name", REASONS)
def test_a_pod_that_waits_says_why(user: User, name: str) -> None:
    spec, container, lacking = REASONS[name]
    message = f"0/3 nodes are available: {lacking}. {NOWHERE}"
    user.says("apply -f -", WAITING.replace("NAME", name).replace("SPEC", spec).replace("CONTAINER", container))
    seen = user.until(
        f"get events --field-selector involvedObject.name={name} -o jsonpath={{.items[*].message}}", message
    )
    assert seen == message
    like(user.says(f"get pod {name} --no-headers"), f"{name} 0/1 Pending 0 …s")
    user.until(f"describe pod {name}", "⋮\nPodScheduled False\n⋮\nWarning FailedScheduling …")
    user.says(f"delete pod {name} --now")


def test_a_gated_pod_waits_for_its_gate(user: User) -> None:
    user.says(
        "apply -f -",
        WAITING.replace("NAME", "gated")
        .replace("SPEC", "schedulingGates: [{name: example.com/g}]")
        .replace(" CONTAINER", ""),
    )
    user.until("get pod gated --no-headers", "gated 0/1 SchedulingGated 0 …s")
    user.says("""patch pod gated --type=json -p '[{"op":"remove","path":"/spec/schedulingGates"}]'""")
    user.says("wait --for=condition=PodScheduled pod/gated --timeout=20s")
    user.says("delete pod gated --now")


def test_a_waiting_pod_starts_when_a_node_fits(user: User) -> None:
    manifest = WAITING.replace("NAME", "later").replace("SPEC", "nodeSelector: {typed: 'yes'}")
    user.says("apply -f -", manifest.replace("CONTAINER", ", command: [sleep, '1000']"))
    user.says("wait --for=condition=PodScheduled=False pod/later --timeout=20s")
    user.says("label node node-2 typed=yes")
    user.says("wait --for=condition=Ready pod/later --timeout=30s")
    assert user.says("get pod later -o jsonpath={.spec.nodeName}") == "node-2"
    user.says("delete pod later --now")


def test_drain_moves_what_may_move(user: User) -> None:
    user.says("apply -f -", WEB)
    user.says("rollout status deployment/web --timeout=60s")
    assert set(user.says("get pods -l app=web -o jsonpath={.items[*].spec.nodeName}").split()) == {
        "node-1", "node-2", "node-3"
    }  # fmt: skip
    assert user.says("cordon node-1") == "node/node-1 cordoned\n"
    assert user.says("cordon node-1") == "node/node-1 already cordoned\n"
    like(user.says("get node node-1 --no-headers"), "node-1 Ready,SchedulingDisabled <none> …")
    user.says('run alone --image=nginx --overrides=\'{"spec":{"nodeName":"node-1"}}\'')
    refused = user.refuses("drain node-1")
    assert (
        "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): kube-system/clew-agent-" in refused
    )
    assert "use --force to override" in refused
    printed = user.says("drain node-1 --ignore-daemonsets --force --timeout=60s")
    assert f"evicting pod {user.namespace}/alone" in printed
    assert printed.endswith("node/node-1 drained\n")
    user.says("rollout status deployment/web --timeout=60s")
    assert "node-1" not in user.says("get pods -l app=web -o jsonpath={.items[*].spec.nodeName}").split()
    assert user.says("uncordon node-1") == "node/node-1 uncordoned\n"
    user.says("delete deployment web")


def test_taints_keep_out_and_send_away(user: User) -> None:
    assert user.says("taint node node-3 typed=1:NoSchedule") == "node/node-3 tainted\n"
    assert "--overwrite is false" in user.refuses("taint node node-3 typed=2:NoSchedule")
    assert "unsupported taint effect" in user.refuses("taint node node-3 typed=2:Bad")
    assert "Taints: typed=1:NoSchedule" in " ".join(user.says("describe node node-3").split())
    user.says('run kept --image=nginx --overrides=\'{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node-3"}}}\'')
    message = (
        "0/3 nodes are available: 1 node(s) had untolerated taint {typed: 1}, "
        f"2 node(s) didn't match Pod's node affinity/selector. {NOWHERE}"
    )
    user.until("get events --field-selector involvedObject.name=kept -o jsonpath={.items[*].message}", message)
    assert user.says("taint node node-3 typed-") == "node/node-3 untainted\n"
    user.says("wait --for=condition=Ready pod/kept --timeout=30s")
    user.says("taint node node-3 typed=1:NoExecute")
    user.says("wait --for=delete pod/kept --timeout=40s")
    listed = (
        "get events --field-selector involvedObject.name=kept -o jsonpath='{range .items[*]}{.message}{\"\\n\"}{end}'"
    )
    user.until(listed, f"⋮\nMarking for deletion Pod {user.namespace}/kept\n⋮")
    assert 'taint "nobody" not found' in user.refuses("taint node node-3 nobody-")
