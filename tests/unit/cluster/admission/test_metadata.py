import pytest

from clew.api.kinds import CLUSTER_ROLE, CONFIG_MAP, NAMESPACE, POD, SERVICE, Kind
from clew.cluster.admission import validate_metadata

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    r" '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with"
    " an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
NAME_PART = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


@pytest.mark.parametrize(
    ("kind", "meta", "texts"),
    [
        (POD, {"name": "a.b-c"}, []),
        (POD, {}, ["metadata.name: Required value: name or generateName is required"]),
        (POD, {"name": "Web"}, [f'metadata.name: Invalid value: "Web": {SUBDOMAIN}']),
        (POD, {"name": "a" * 254}, [f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 bytes']),
        (NAMESPACE, {"name": "a.b"}, [f'metadata.name: Invalid value: "a.b": {LABEL}']),
        (SERVICE, {"name": "1web"}, []),  # since 1.37 (KEP-5311)
        (SERVICE, {"name": "1.web"}, [f'metadata.name: Invalid value: "1.web": {LABEL}']),
        (CLUSTER_ROLE, {"name": "system:node"}, []),
        (CLUSTER_ROLE, {"name": "a/b"}, ['metadata.name: Invalid value: "a/b": may not contain \'/\'']),
        (POD, {"name": "a", "labels": {"a b": "c"}}, [f'metadata.labels: Invalid value: "a b": {NAME_PART}']),
        (POD, {"name": "a", "labels": {"a": "c d"}}, [f'metadata.labels: Invalid value: "c d": {LABEL_VALUE}']),
        (
            POD, {"name": "a", "labels": {"/a": "b"}},
            ['metadata.labels: Invalid value: "/a": prefix part must be non-empty'],
        ),
        (POD, {"name": "a", "annotations": {"Example.com/A": "anything goes"}}, []),
        (
            POD, {"name": "a", "annotations": {"a": "x" * 262_144}},
            ["metadata.annotations: Too long: may not be more than 262144 bytes"],
        ),
        (
            POD, {"name": "a", "finalizers": ["mine"]},
            [
                ('metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it'
                " fully qualified")
            ],
        ),
        (POD, {"name": "a", "finalizers": ["example.com/mine", "orphan"]}, []),
        (
            POD, {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "b"}]},
            ["metadata.ownerReferences[0].uid: Required value: must not be empty"],
        ),
    ],
)  # fmt: skip
def test_metadata(kind: Kind, meta: dict, texts: list) -> None:
    assert [str(error) for error in validate_metadata(kind, {"metadata": meta}, None)] == texts


def test_only_one_owner_controls() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "1", "controller": True}
    meta = {"name": "a", "ownerReferences": [{**owner, "name": "one"}, {**owner, "name": "two"}]}
    (error,) = validate_metadata(POD, {"metadata": meta}, None)
    assert error.detail == (
        'Only one reference can have Controller set to true. Found "true" in references for one and two'
    )


def test_what_goes_gets_no_new_finalizers() -> None:
    old = {"metadata": {"name": "a", "uid": "1", "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["a/b"]}}
    new = {"metadata": {"name": "a", "uid": "1", "finalizers": ["a/b", "c/d"]}}
    (error,) = validate_metadata(CONFIG_MAP, new, old)
    assert str(error) == (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new"
        ' finalizers []string{"c/d"}'
    )
    assert validate_metadata(CONFIG_MAP, {"metadata": {"name": "a", "finalizers": []}}, old) == []


def test_identity_does_not_change() -> None:
    old = {"metadata": {"name": "a", "uid": "1"}}
    texts = [str(error) for error in validate_metadata(CONFIG_MAP, {"metadata": {"name": "b", "uid": "2"}}, old)]
    assert texts == [
        'metadata.name: Invalid value: "b": field is immutable',
        'metadata.uid: Invalid value: "2": field is immutable',
    ]
