import pytest

from clew.api.kinds import CONFIG_MAP, DEPLOYMENT, ENDPOINT_SLICE, NODE, POD, SECRET, SERVICE, Kind
from clew.api.schema import decode_problems, drop_unknown, duplicate_fields, tidy

QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def containers(*items: dict) -> dict:
    return {"spec": {"template": {"spec": {"containers": list(items)}}}}


@pytest.mark.parametrize(
    ("kind", "obj", "path"),
    [
        (DEPLOYMENT, containers({"imagee": "x"}), "spec.template.spec.containers[0].imagee"),
        (POD, {"spec": {"containers": [{}, {"env": [{}, {"nam": 1}]}]}}, "spec.containers[1].env[1].nam"),
        (POD, {"foo": None}, "foo"),
        (SERVICE, {"metadata": {"lables": {}}}, "metadata.lables"),
    ],
)
def test_an_unknown_field_is_named_by_its_path(kind: Kind, obj: dict, path: str) -> None:
    (problem,) = decode_problems(kind, obj)
    assert (problem.path, problem.message, problem.fatal) == (path, f'unknown field "{path}"', False)
    drop_unknown(kind, obj)
    assert decode_problems(kind, obj) == []


GO = "json: cannot unmarshal {} into Go struct field {} of type {}"


@pytest.mark.parametrize(
    ("kind", "obj", "message"),
    [
        (SERVICE, {"spec": {"ports": "x"}}, GO.format("string", "ServiceSpec.spec.ports", "[]v1.ServicePort")),
        (SERVICE, {"spec": {"ports": [{"port": "80"}]}}, GO.format("string", "ServicePort.spec.ports.port", "int32")),
        (
            SERVICE, {"spec": {"ports": [{"port": 1.5}]}},
            GO.format("number 1.5", "ServicePort.spec.ports.port", "int32"),
        ),
        (
            SERVICE, {"spec": {"ports": [{"port": 2**31}]}},
            GO.format("number 2147483648", "ServicePort.spec.ports.port", "int32"),
        ),
        (
            SERVICE, {"spec": {"ports": [{"protocol": 6}]}},
            GO.format("number", "ServicePort.spec.ports.protocol", "v1.Protocol"),
        ),
        (SERVICE, {"spec": []}, GO.format("array", "Service.spec", "v1.ServiceSpec")),
        (SERVICE, {"spec": {"selector": {"a": True}}}, GO.format("bool", "ServiceSpec.spec.selector", "string")),
        (DEPLOYMENT, {"spec": {"replicas": "two"}}, GO.format("string", "DeploymentSpec.spec.replicas", "int32")),
        (
            DEPLOYMENT, containers({"env": [{"name": "a", "value": 1}]}),
            GO.format("number", "EnvVar.spec.template.spec.containers.env.value", "string"),
        ),
        (
            DEPLOYMENT, {"spec": {"selector": "x"}},
            GO.format("string", "DeploymentSpec.spec.selector", "v1.LabelSelector"),
        ),
        (POD, {"metadata": {"labels": "x"}}, GO.format("string", "ObjectMeta.metadata.labels", "map[string]string")),
        (POD, {"spec": {"hostNetwork": "yes"}}, GO.format("string", "PodSpec.spec.hostNetwork", "bool")),
        (CONFIG_MAP, {"data": {"a": {"b": 1}}}, GO.format("object", "ConfigMap.data", "string")),
        (POD, {"spec": {"containers": [{"resources": {"limits": {"cpu": "a lot"}}}]}}, QUANTITY),
        (SECRET, {"data": {"a": "ab!d"}}, "illegal base64 data at input byte 2"),
        (
            POD, {"metadata": {"creationTimestamp": "noon"}},
            'parsing time "noon" as "2006-01-02T15:04:05Z07:00": cannot parse "noon" as "2006"',
        ),
    ],
)  # fmt: skip
def test_a_wrong_type_is_told_as_go_tells_it(kind: Kind, obj: dict, message: str) -> None:
    (problem,) = decode_problems(kind, obj)
    assert problem.message == message
    assert problem.fatal


@pytest.mark.parametrize(
    "obj",
    [
        {"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 81}]}},
        {"spec": {"ports": None}, "metadata": {"creationTimestamp": None}},
        {"spec": {"selector": {"a": None}}},
        {},
    ],
)
def test_what_is_right_is_right(obj: dict) -> None:
    assert decode_problems(SERVICE, obj) == []


def test_custom_kinds_are_left_to_their_own_schema() -> None:
    assert decode_problems(Kind("example.org", "v1", "Widget", "widgets", True), {"anything": 1}) == []


def test_problems_come_in_the_order_of_the_body() -> None:
    obj = {"b": 1, "spec": {"replicas": "x", "a": 1}}
    assert [problem.path for problem in decode_problems(DEPLOYMENT, obj)] == ["b", "spec.replicas", "spec.a"]


@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        (b'{"a": 1, "b": 2}', []),
        (b'{"spec": {"replicas": 1, "replicas": 2}}', ['duplicate field "spec.replicas"']),
        (b'{"a": [{"x": 1, "x": 1}], "a": [{"y": 1, "y": 2}]}', ['duplicate field "a"', 'duplicate field "a[0].y"']),
        (b'{"a": 1, "a": 2, "a": 3}', ['duplicate field "a"']),
    ],
)
def test_keys_given_twice_in_json(raw: bytes, messages: list) -> None:
    assert [problem.message for problem in duplicate_fields(raw)] == messages


def test_keys_given_twice_in_yaml() -> None:
    raw = b"spec:\n  replicas: 1\n  x: {a: 1}\n  replicas: 2\n"
    (problem,) = duplicate_fields(raw, is_yaml=True)
    assert problem.message == 'line 4: key "replicas" already set in map'
    with pytest.raises(ValueError, match="while"):
        duplicate_fields(b"a: [", is_yaml=True)


def test_tidying_is_a_round_through_go() -> None:
    pod = {
        "metadata": {"creationTimestamp": None, "annotations": {"a": None}, "labels": {}, "finalizers": [None]},
        "spec": {
            "containers": [
                {"resources": {"limits": {"cpu": "1000m", "memory": 1024}, "requests": None}, "env": []},
                {"resources": {}},
            ],
            "volumes": [{"name": "a", "emptyDir": {}}],
        },
    }
    tidy(POD, pod)
    assert pod == {
        "metadata": {"annotations": {"a": ""}, "finalizers": [""]},
        "spec": {
            "containers": [{"resources": {"limits": {"cpu": "1", "memory": "1024"}}}, {"resources": {}}],
            "volumes": [{"name": "a", "emptyDir": {}}],
        },
    }
    nothing_yet = {"metadata": {"labels": {"a": "b"}}, "addressType": "IPv4", "endpoints": []}
    tidy(ENDPOINT_SLICE, nothing_yet)
    assert nothing_yet["endpoints"] == []
    node = {"status": {"capacity": {"memory": "1024Ki"}}}
    tidy(NODE, node)
    assert node == {"status": {"capacity": {"memory": "1Mi"}}}
