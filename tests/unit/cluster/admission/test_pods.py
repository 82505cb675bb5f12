from collections.abc import Callable

import pytest

from clew.api.kinds import POD
from clew.cluster.admission import apply_defaults, ephemeral_errors

Refused = Callable[..., list[str]]

PORT = "must be between 1 and 65535, inclusive"


def pod(container: dict | None = None, **spec: object) -> dict:
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a", "image": "i", **(container or {})}], **spec},
    }


def test_a_plain_pod_is_well(refused: Refused) -> None:
    assert refused(POD, pod()) == []


@pytest.mark.parametrize(
    ("container", "texts"),
    [
        ({"name": ""}, ["spec.containers[0].name: Required value"]),
        ({"image": ""}, ["spec.containers[0].image: Required value"]),
        (
            {"image": " a"},
            ['spec.containers[0].image: Invalid value: " a": must not have leading or trailing whitespace'],
        ),
        (
            {"imagePullPolicy": "Often"},
            [('spec.containers[0].imagePullPolicy: Unsupported value: "Often": supported values: "Always",'
             ' "IfNotPresent",'
             ' "Never"')],
        ),
        (
            {"ports": [{"containerPort": 99999}]},
            [f"spec.containers[0].ports[0].containerPort: Invalid value: 99999: {PORT}"],
        ),
        ({"ports": [{}]}, ["spec.containers[0].ports[0].containerPort: Required value"]),
        (
            {"ports": [{"containerPort": 1, "protocol": "ICMP"}]},
            ['spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'],
        ),
        (
            {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
            ['spec.containers[0].ports[1].name: Duplicate value: "a"'],
        ),
        (
            {"ports": [{"containerPort": 1, "name": "much-too-long-a-name"}]},
            [('spec.containers[0].ports[0].name: Invalid value: "much-too-long-a-name": must be no more than 15'
             ' characters')],
        ),
        (
            {"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]},
            ['spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"'],
        ),
        ({"env": [{"value": "x"}]}, ["spec.containers[0].env[0].name: Required value"]),
        (
            {"env": [{"name": "a=b"}]},
            [(
             'spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment variable name must consist only'
             " of printable ASCII characters other than '='")],
        ),
        (
            {"env": [{"name": "a", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            ['spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        (
            {"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.color"}}}]},
            [('spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.color": error converting'
             " fieldPath: field label not supported: spec.color")],
        ),
        (
            {"env": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "s"}}}]},
            ["spec.containers[0].env[0].valueFrom.secretKeyRef.key: Required value"],
        ),
        (
            {"envFrom": [{}]},
            ['spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'],
        ),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/x"}]},
            ['spec.containers[0].volumeMounts[0].name: Not found: "v"'],
        ),
        ({"livenessProbe": {}}, ["spec.containers[0].livenessProbe: Required value: must specify a handler type"]),
        (
            {"livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}},
            ["spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
        ),
        (
            {"livenessProbe": {"tcpSocket": {"port": 0}, "successThreshold": 2}},
            [f"spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: 0: {PORT}",
             "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            {"readinessProbe": {"httpGet": {"port": "a--b"}}},
            [('spec.containers[0].readinessProbe.httpGet.port: Invalid value: "a--b": must not contain'
             ' consecutive hyphens')],
        ),
        (
            {"readinessProbe": {"exec": {"command": ["x"]}, "periodSeconds": -1}},
            ["spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}},
            ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            {"resources": {"requests": {"memory": "-1"}}},
            ['spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        (
            {"resources": {"limits": {"gpu": "1"}}},
            [(
             'spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully'
             " qualified"),
             ('spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for'
             ' containers'),
             ('spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource'
             ' type or fully'
             " qualified"),
             ('spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for'
             " containers")],
        ),
        (
            {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
            [('spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true}:'
             " cannot set `allowPrivilegeEscalation` to false and `privileged` to true")],
        ),
        (
            {"securityContext": {"runAsUser": -1}},
            [("spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647,"
             " inclusive")],
        ),
        (
            {"terminationMessagePolicy": "Mail"},
            [('spec.containers[0].terminationMessagePolicy: Unsupported value: "Mail": supported values:'
             ' "FallbackToLogsOnError", "File"')],
        ),
    ],
)  # fmt: skip
def test_containers(refused: Refused, container: dict, texts: list) -> None:
    assert refused(POD, pod(container)) == texts


V = [{"name": "v", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        ({"containers": []}, ["spec.containers: Required value"]),
        (
            {"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]},
            ['spec.containers[1].name: Duplicate value: "a"'],
        ),
        (
            {"initContainers": [{"name": "a", "image": "i"}]}, ['spec.initContainers[0].name: Duplicate value: "a"'],
        ),
        (
            {"initContainers": [{"name": "b", "image": "i", "readinessProbe": {"tcpSocket": {"port": 1}}}]},
            [("spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without"
             " restartPolicy=Always")],
        ),
        (
            {"restartPolicy": "Sometimes"},
            ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"'],
        ),
        (
            {"dnsPolicy": "Mine"},
            [('spec.dnsPolicy: Unsupported value: "Mine": supported values: "ClusterFirst", "ClusterFirstWithHostNet",'
             ' "Default", "None"')],
        ),
        ({"dnsPolicy": "None"}, ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
        (
            {"dnsPolicy": "None", "dnsConfig": {"searches": ["a"]}},
            [("spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is"
             " None")],
        ),
        (
            {"dnsConfig": {"nameservers": ["1.1.1.1", "a", "::1"]}},
            [('spec.dnsConfig.nameservers[1]: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or'
             " 2001:db8::ffff)")],
        ),
        ({"volumes": [*V, *V]}, ['spec.volumes[1].name: Duplicate value: "v"']),
        (
            {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]},
            ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            {"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]},
            ['spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain \'..\''],
        ),
        (
            {"volumes": [{"name": "v", "hostPath": {"path": "/", "type": "Disk"}}]},
            [('spec.volumes[0].hostPath.type: Unsupported value: "Disk": supported values: "", "BlockDevice",'
             ' "CharDevice",'
             ' "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"')],
        ),
        ({"volumes": [{"name": "v", "configMap": {}}]}, ["spec.volumes[0].configMap.name: Required value"]),
        (
            {"volumes": [{"name": "v", "secret": {"secretName": "s", "defaultMode": 512}}]},
            [(
             "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both"
             " inclusive")],
        ),
        (
            {"volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "/p"}]}}]},
            ['spec.volumes[0].configMap.items[0].path: Invalid value: "/p": must be a relative path'],
        ),
        (
            {"hostNetwork": True, "containers": [
                {"name": "a", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}
            ]},
            [(
             "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is"
             " true")],
        ),
        (
            {"tolerations": [{"operator": "Equal", "value": "x"}]},
            [('spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which'
             ' means "match all values and all keys"')],
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoRun"}]},
            [('spec.tolerations[0].effect: Unsupported value: "NoRun": supported values: "NoExecute", "NoSchedule",'
             ' "PreferNoSchedule"')],
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}]},
            [('spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must be \'NoExecute\' when'
             " `tolerationSeconds` is set")],
        ),
        (
            {"activeDeadlineSeconds": 0},
            ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            {"ephemeralContainers": [{"name": "d", "image": "i"}]},
            ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
        (
            {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}},
            [("spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required"
             " value: can not be empty")],
        ),
        (
            {"topologySpreadConstraints": [{"topologyKey": "a"}]},
            ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
            [("spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is"
             " Localhost")],
        ),
    ],
)  # fmt: skip
def test_specs(refused: Refused, spec: dict, texts: list) -> None:
    assert refused(POD, pod(**spec)) == texts


def test_mount_paths_are_unique(refused: Refused) -> None:
    mounts = [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x", "subPath": "../y"}]
    assert refused(POD, pod({"volumeMounts": mounts}, volumes=V)) == [
        'spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique',
        "spec.containers[0].volumeMounts[1].subPath: Invalid value: \"../y\": must not contain '..'",
    ]


CHANGE = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"


def test_what_may_change_of_a_pod(refused: Refused) -> None:
    old = pod(nodeName="n")
    assert refused(POD, pod({"image": "j"}, nodeName="n"), old) == []
    assert refused(POD, pod(nodeName="n", tolerations=[{"key": "a", "operator": "Exists"}]), old) == []
    (text,) = refused(POD, pod(nodeName="m"), old)
    assert text.startswith(CHANGE)
    assert text.endswith("\nspec.nodeName differs")
    (text,) = refused(POD, pod({"command": ["x"]}, nodeName="n"), old)
    assert text.endswith("\nspec.containers differs")
    (text,) = refused(
        POD, {**old, "spec": {**old["spec"], "containers": [*old["spec"]["containers"], {"name": "b"}]}}, old
    )
    assert text == "spec.containers: Forbidden: pod updates may not add or remove containers"


def test_a_deadline_only_shrinks_and_tolerations_only_grow(refused: Refused) -> None:
    old = pod(activeDeadlineSeconds=10, tolerations=[{"key": "a", "operator": "Exists", "effect": "NoExecute"}])
    later = pod(activeDeadlineSeconds=20, tolerations=[])
    assert refused(POD, later, old) == [
        "spec.activeDeadlineSeconds: Invalid value: 20: must be less than or equal to previous value",
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
    ]


def test_debug_containers_are_only_added() -> None:
    old = pod(ephemeralContainers=[{"name": "d", "image": "i"}])
    new = pod(
        ephemeralContainers=[{"name": "d", "image": "i"}, {"name": "e", "image": "i", "targetContainerName": "a"}]
    )
    for each in (old, new):
        apply_defaults(POD, each)
    assert list(ephemeral_errors(new, old)) == []
    wrong = pod(ephemeralContainers=[{"name": "a", "image": "i", "targetContainerName": "z"}])
    apply_defaults(POD, wrong)
    assert [str(error) for error in ephemeral_errors(wrong, old)] == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be removed',
        'spec.ephemeralContainers[0].name: Duplicate value: "a"',
        'spec.ephemeralContainers[0].targetContainerName: Not found: "z"',
    ]


def test_scheduling_gates_are_only_ever_taken_away(refused: Refused) -> None:
    """Taking one away was refused as a change of the spec: a gated pod could never start."""
    gated = pod(schedulingGates=[{"name": "example.com/a"}, {"name": "example.com/b"}])
    assert refused(POD, pod(schedulingGates=[{"name": "example.com/b"}]), gated) == []
    assert refused(POD, pod(), gated) == []
    assert refused(POD, gated, pod(schedulingGates=[{"name": "example.com/a"}])) == [
        "spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'example.com/b'"
    ]
