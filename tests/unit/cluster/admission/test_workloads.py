from collections.abc import Callable

import pytest

from clew.api.kinds import DAEMON_SET, DEPLOYMENT, REPLICA_SET, Kind

LABELS = {"app": "web"}


def workload(template: dict | None = None, **spec: object) -> dict:
    inner = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "a", "image": "i"}], **(template or {})}}
    return {"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": LABELS}, "template": inner, **spec}}


MISMATCH = "spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`"
PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for"
    " validation is '[0-9]+%')"
)

Refused = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("kind", "obj", "texts"),
    [
        (DEPLOYMENT, workload(), []),
        (REPLICA_SET, workload(), []),
        (DAEMON_SET, workload(), []),
        (DEPLOYMENT, workload(replicas=-1), ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (
            DEPLOYMENT, workload(selector=None),
            ["spec.selector: Required value", MISMATCH.format('{"app":"web"}')],
        ),
        (
            DEPLOYMENT, workload(selector={}),
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (DEPLOYMENT, workload(selector={"matchLabels": {"a": "b"}}), [MISMATCH.format('{"app":"web"}')]),
        (
            DEPLOYMENT, workload(selector={"matchExpressions": [{"key": "app", "operator": "Near", "values": ["x"]}]}),
            ['spec.selector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator'],
        ),
        (
            REPLICA_SET, workload(selector={"matchExpressions": [{"key": "app", "operator": "In"}]}),
            [("spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or"
             " 'NotIn'")],
        ),
        (
            DEPLOYMENT, workload({"restartPolicy": "Never"}),
            ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
        ),
        (
            DEPLOYMENT, workload({"containers": [{"name": "a"}]}),
            ["spec.template.spec.containers[0].image: Required value"],
        ),
        (
            DEPLOYMENT, workload(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        ),
        (
            DEPLOYMENT, workload(strategy={"rollingUpdate": {"maxSurge": "some"}}),
            [f'spec.strategy.rollingUpdate.maxSurge: Invalid value: "some": {PERCENT}'],
        ),
        (
            DEPLOYMENT, workload(strategy={"rollingUpdate": {"maxUnavailable": "110%"}}),
            ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "110%": must not be greater than 100%'],
        ),
        (
            DEPLOYMENT, workload(strategy={"type": "Recreate", "rollingUpdate": {}}),
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            DEPLOYMENT, workload(progressDeadlineSeconds=10, minReadySeconds=20),
            ["spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds"],
        ),
        (
            DAEMON_SET, workload(updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}),
            [("spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is"
             " non-zero")],
        ),
        (
            DAEMON_SET, workload(updateStrategy={"type": "Now"}),
            ['spec.updateStrategy.type: Unsupported value: "Now": supported values: "OnDelete", "RollingUpdate"'],
        ),
    ],
)  # fmt: skip
def test_workloads(refused: Refused, kind: Kind, obj: dict, texts: list) -> None:
    assert refused(kind, obj) == texts


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET, DAEMON_SET])
def test_the_selector_lasts(refused: Refused, kind: Kind) -> None:
    other = workload(selector={"matchLabels": {"app": "web", "x": "y"}})
    other["spec"]["template"]["metadata"]["labels"] = {"app": "web", "x": "y"}
    assert refused(kind, other, workload()) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web","x":"y"}}: field is immutable'
    ]
