"""What runc is told about a container: a table a rule of the specification."""

from typing import Any

import pytest

from clew.cluster.runtime.oci import ContainerSpec, Limits, Mount, Namespaces, Rights, User, config
from clew.cluster.runtime.oci.rights import DEFAULT_CAPABILITIES, capabilities, seccomp

ALL = (*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN", "CAP_SYS_ADMIN")


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "held"),
    [
        ((), (), False, set(DEFAULT_CAPABILITIES)),
        (("NET_ADMIN",), (), False, {*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"}),
        (("cap_net_admin",), ("CAP_KILL",), False, {*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"} - {"CAP_KILL"}),
        (("NET_BIND_SERVICE",), ("ALL",), False, {"CAP_NET_BIND_SERVICE"}),
        (("ALL",), (), False, set(ALL)),
        (("ALL",), ("SYS_ADMIN",), False, set(ALL) - {"CAP_SYS_ADMIN"}),
        (("SYS_TIME",), (), False, set(DEFAULT_CAPABILITIES)),  # this machine has none to give
        ((), ("ALL",), True, set(ALL)),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], held: set[str], *, privileged: bool) -> None:
    assert set(capabilities(add, drop, privileged=privileged, available=ALL)) == held


def allowed(profile: Any, name: str) -> bool:
    """Without looking at arguments."""
    return any(name in rule["names"] and "args" not in rule for rule in profile["syscalls"])


def test_system_calls_follow_capabilities() -> None:
    usual, mighty = seccomp(DEFAULT_CAPABILITIES, "x86_64"), seccomp(["CAP_SYS_ADMIN"], "x86_64")
    assert [allowed(usual, name) for name in ("read", "execve", "mount", "unshare", "reboot", "bpf")] == [
        True, True, False, False, False, False
    ]  # fmt: skip
    assert allowed(mighty, "mount")
    assert usual["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in usual["syscalls"]


def made(**spec: Any) -> dict[str, Any]:
    return config(ContainerSpec(("sh",), "/g", **spec), ALL)


def test_a_plain_container_is_closed_in() -> None:
    plain = made()
    assert {each["type"] for each in plain["linux"]["namespaces"]} == {"mount", "network", "ipc", "uts", "pid"}
    assert "/proc/kcore" in plain["linux"]["maskedPaths"]
    assert "/proc/sys" in plain["linux"]["readonlyPaths"]
    assert plain["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    options = {each["destination"]: each["options"] for each in plain["mounts"]}
    assert "ro" in options["/sys"]
    assert plain["process"]["capabilities"]["bounding"] == sorted(DEFAULT_CAPABILITIES)
    assert not {"inheritable", "ambient"} & plain["process"]["capabilities"].keys()


def test_a_privileged_one_is_not() -> None:
    mighty = made(rights=Rights(privileged=True), devices=({"path": "/dev/kvm"},))
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & mighty["linux"].keys()
    assert mighty["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert mighty["linux"]["devices"] == [{"path": "/dev/kvm"}]


@pytest.mark.parametrize(
    ("rights", "where", "value"),
    [
        (Rights(read_only_root=True), ("root", "readonly"), True),
        (Rights(no_new_privileges=True), ("process", "noNewPrivileges"), True),
        (Rights(seccomp=False), ("linux", "seccomp"), None), (Rights(masked=False), ("linux", "maskedPaths"), None),
    ],
)  # fmt: skip
def test_rights(rights: Rights, where: tuple[str, str], value: object) -> None:
    assert made(rights=rights)[where[0]].get(where[1]) == value


@pytest.mark.parametrize(
    ("spaces", "listed"),
    [
        (Namespaces("/n", "/i", "/u"), {"network": "/n", "ipc": "/i", "uts": "/u", "pid": None, "mount": None}),
        (Namespaces("", "", "", ""), {"mount": None}),
        (Namespaces(pid="/p"), {"network": None, "ipc": None, "uts": None, "pid": "/p", "mount": None}),
    ],
)
def test_namespaces_are_joined_made_or_the_nodes(spaces: Namespaces, listed: dict[str, str | None]) -> None:
    found = made(namespaces=spaces)["linux"]["namespaces"]
    assert {each["type"]: each.get("path") for each in found} == listed


def test_what_lies_inside_a_mount_comes_after_it() -> None:
    mounts = (Mount("/3", "/a/b/c"), Mount("/1", "/a/", read_only=True), Mount("/2", "/a/b", propagation="shared"))
    whole = made(mounts=mounts)
    assert [each["source"] for each in whole["mounts"]][-3:] == ["/1", "/2", "/3"]
    assert [each["options"] for each in whole["mounts"]][-3:-1] == [
        ["rbind", "rprivate", "ro"],
        ["rbind", "rshared", "rw"],
    ]
    assert whole["linux"]["rootfsPropagation"] == "rshared"


def test_limits_and_users_go_where_runc_looks() -> None:
    whole = made(limits=Limits(512, 50_000, 1 << 20), user=User(1, 2, (3,)), oom_score=7, open_files=9)
    assert whole["linux"]["resources"]["cpu"] == {"shares": 512, "quota": 50_000, "period": 100_000}
    assert whole["linux"]["resources"]["memory"] == {"limit": 1 << 20}
    assert whole["process"]["user"] == {"uid": 1, "gid": 2, "additionalGids": [3]}
    assert whole["process"]["oomScoreAdj"] == 7
    assert whole["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}]
    assert not {"cpu", "memory"} & made()["linux"]["resources"].keys()
