"""The CNI language: calls checked, results in each version's shape, errors with the specification's codes."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.cni import framing, result, versions
from clew.cni.errors import CniError, Code
from clew.cni.ip_ranges import Range
from clew.cni.previous import Previous, behind
from clew.cni.request import Call, parse
from clew.cni.runtime_config import Bandwidth, Port

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc-1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
}
CONFIG: dict[str, Any] = {"cniVersion": "1.0.0", "name": "clew", "type": "clew-cni"}


PORT: dict[str, Any] = {"hostPort": 8080, "containerPort": 80}


def ranged(*choices: list[dict[str, str]]) -> dict[str, Any]:
    return {"runtimeConfig": {"ipRanges": list(choices)}}


def mapped(**change: Any) -> dict[str, Any]:
    return {"runtimeConfig": {"portMappings": [{**PORT, **change}]}}


def call(env: Mapping[str, str] = {}, **config: Any) -> Call:
    merged = {key: value for key, value in {**ENV, **env}.items() if value}
    return parse(merged, json.dumps({**CONFIG, **config}).encode())


def test_a_call_of_a_kubelet() -> None:
    found = call()
    assert found.key == ("abc-1", "eth0")
    assert found.pod["K8S_POD_NAME"] == "web"
    assert (found.config.version, found.config.name, found.config.previous) == ("1.0.0", "clew", None)
    assert call(prevResult={"ips": []}).config.previous == Previous()


def rated(**bandwidth: Any) -> dict[str, Any]:
    return {"runtimeConfig": {"bandwidth": bandwidth}}


@pytest.mark.parametrize(
    ("env", "config", "code", "words"),
    [
        ({"CNI_COMMAND": "FLY"}, {}, 4, "CNI_COMMAND is 'FLY'"),
        ({"CNI_COMMAND": ""}, {}, 4, "CNI_COMMAND"),
        ({"CNI_CONTAINERID": ""}, {}, 4, "CNI_CONTAINERID is not set: ADD needs it"),
        ({"CNI_CONTAINERID": "../x"}, {}, 4, "CNI_CONTAINERID is '../x'"),
        ({"CNI_NETNS": ""}, {}, 4, "CNI_NETNS"),
        ({"CNI_IFNAME": "sixteen-letters!"}, {}, 4, "CNI_IFNAME"),
        ({"CNI_IFNAME": "a/b"}, {}, 4, "CNI_IFNAME"),
        ({"CNI_IFNAME": ".."}, {}, 4, "CNI_IFNAME"),
        ({"CNI_PATH": ""}, {}, 4, "CNI_PATH"),
        ({"CNI_NETNS": "", "CNI_IFNAME": ""}, {}, 4, "CNI_NETNS, CNI_IFNAME are not set: ADD needs it"),
        ({"CNI_IFNAME": "eth%d"}, {}, 4, "CNI_IFNAME is 'eth%d'"),
        ({"CNI_IFNAME": "all"}, {}, 4, "CNI_IFNAME is 'all'"),
        ({"CNI_IFNAME": "\u00e4" * 8}, {}, 4, "of at most 15 bytes"),
        ({"CNI_IFNAME": "eth\udcff"}, {}, 4, r"CNI_IFNAME is 'eth\udcff': it must be UTF-8"),
        ({"CNI_NETNS": "/ns/\udcff"}, {}, 4, "CNI_NETNS is"),
        ({"CNI_ARGS": "K8S_POD_NAME=\udcff"}, {}, 4, "CNI_ARGS is"),
        ({"CNI_COMMAND": "DEL", "CNI_NETNS": "\udcff", "CNI_IFNAME": "e\udcff"}, {}, 4, "CNI_IFNAME is"),
        ({"CNI_CONTAINERID": "a" * 201}, {}, 4, "at most 200 characters"),
        ({}, {"dns": {"nameservers": "9.9.9.9"}}, 7, "$.dns.nameservers"),
        ({}, {"prevResult": {"ips": "x"}}, 7, "prevResult is no result of a plugin"),
        ({}, {"prevResult": {"interfaces": [7]}}, 7, "$.interfaces[0]"),
        ({"CNI_ARGS": "nonsense"}, {}, 4, "CNI_ARGS is 'nonsense'"),
        ({}, {"cniVersion": "0.2.0"}, 1, "0.2.0"),
        ({}, {"cniVersion": "2.0.0"}, 1, "must be one of 0.3.0"),
        ({}, {"name": ""}, 7, "name is ''"),
        ({}, {"name": "a b"}, 7, "name is 'a b'"),
        ({}, {"mtu": 5}, 7, "mtu is 5"),
        ({}, {"mtu": "big"}, 7, "$.mtu"),
        ({}, {"runtimeConfig": {"ips": ["x"]}}, 7, "ips is 'x': it must be an address"),
        ({}, {"runtimeConfig": {"ips": ["10.0.0.1", "10.0.0.2"]}}, 7, "'10.0.0.2': it must be the only one of IPv4"),
        ({}, {"runtimeConfig": {"mac": "01:00:5e:00:00:01"}}, 7, "it must be a unicast hardware address"),
        ({}, {"runtimeConfig": {"mac": "2:3:4"}}, 7, "runtimeConfig.mac is '2:3:4'"),
        ({}, {"args": {"cni": {"mac": "2:3:4"}}}, 7, "args.cni.mac is '2:3:4'"),
        ({"CNI_ARGS": "IgnoreUnknown=1;MAC=ff:ff:ff:ff:ff:ff"}, {}, 7, "CNI_ARGS: MAC is 'ff:ff:ff:ff:ff:ff'"),
        ({"CNI_ARGS": "IP=x"}, {}, 7, "CNI_ARGS: IP is 'x': it must be an address"),
        ({"CNI_ARGS": "IP=10.0.0.2"}, {"runtimeConfig": {"ips": ["10.0.0.1"]}}, 7, "'10.0.0.2': it must be the only"),
        ({}, {"runtimeConfig": {"portMappings": [{}]}}, 7, "containerPort"),
        ({}, mapped(hostPort=65536), 7, "runtimeConfig.portMappings[0].hostPort is '65536': it must be 1 to 65535"),
        ({}, mapped(containerPort=0), 7, "runtimeConfig.portMappings[0].containerPort is '0'"),
        ({}, mapped(protocol="icmp"), 7, "portMappings[0].protocol is 'icmp': it must be tcp, udp or sctp"),
        ({}, mapped(hostIP="node"), 7, "runtimeConfig.portMappings[0].hostIP is 'node'"),
        ({}, rated(ingressRate=-1), 7, "runtimeConfig.bandwidth.ingressRate is '-1'"),
        ({}, rated(egressRate=999), 7, "runtimeConfig.bandwidth.egressRate is '999': it must be 0, or 1000 to"),
        ({}, rated(egressRate=10**15 + 1), 7, "runtimeConfig.bandwidth.egressRate"),
        ({}, rated(ingressRate=8000, ingressBurst=-8), 7, "runtimeConfig.bandwidth.ingressBurst is '-8'"),
        ({}, rated(egressRate=8000, egressBurst=2**35), 7, "egressBurst is '34359738368': it must be 0, or"),
        ({}, rated(egressBurst=9000), 7, "runtimeConfig.bandwidth.egressBurst is '9000': it must be 0 where"),
        ({}, rated(ingressRate="1M"), 7, "$.runtimeConfig.bandwidth.ingressRate"),
        ({}, ranged([{"subnet": "10.0.0.1/24"}]), 7, "runtimeConfig.ipRanges[0][0].subnet is '10.0.0.1/24'"),
        ({}, ranged([{}]), 7, "runtimeConfig.ipRanges[0][0].subnet is ''"),
        ({}, ranged([]), 7, "runtimeConfig.ipRanges[0] is '0 ranges of 0 families'"),
        ({}, ranged([{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]), 7, "2 ranges of 2 families"),
        ({}, ranged([{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.1.0/24"}]), 7, "ipRanges[1] is 'one more choice"),
        ({}, ranged([{"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.1"}]), 7, "rangeStart is '10.0.1.1': it must be"),
        ({}, ranged([{"subnet": "10.0.0.0/24", "rangeEnd": "x"}]), 7, "[0][0].rangeEnd is 'x'"),
        ({}, ranged([{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"}]), 7, "no less than"),
        ({}, ranged([{"subnet": "10.0.0.0/24", "gateway": "10.0.0.9"}]), 2, "gateway is '10.0.0.9'"),
        ({}, {"runtimeConfig": {"ipRanges": [{"subnet": "10.0.0.0/24"}]}}, 7, "$.runtimeConfig.ipRanges[0]"),
        ({}, {"ipam": {"type": "host-local"}}, 2, 'ipam is {"type":"host-local"}'),
        ({"CNI_COMMAND": "GC"}, {"cniVersion": "1.1.0"}, 7, "cni.dev/valid-attachments"),
        ({"CNI_COMMAND": "STATUS"}, {}, 1, "STATUS does not exist in CNI 1.0.0: it came with 1.1.0"),
        ({"CNI_COMMAND": "CHECK"}, {"cniVersion": "0.3.1"}, 1, "CHECK does not exist"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(env: dict[str, str], config: dict[str, Any], code: int, words: str) -> None:
    with pytest.raises(CniError) as caught:
        call(env, **config)
    assert caught.value.code == code
    assert words in str(caught.value)


def test_what_is_null_is_not_there() -> None:
    """Types of containerd's have no `omitempty`: a pod with nameservers and without options was refused."""
    nulls = {"dns": {"Servers": ["10.96.0.10"], "Searches": None, "Options": None}, "ips": None, "mac": None}
    assert call(runtimeConfig=nulls, args=None, dns=None, mtu=None).config.dns == {"nameservers": ["10.96.0.10"]}
    collect = {"CNI_COMMAND": "GC"}
    listed = call(collect, cniVersion="1.1.0", **{"cni.dev/valid-attachments": None})
    assert listed.config.valid == (), "a list of none, as Go writes it"
    with pytest.raises(CniError, match="is not supported"):
        call(cniVersion=None)


def test_the_configuration_is_an_object() -> None:
    for text in (b"", b"[]", b"null", b"3", b'{"name":'):
        with pytest.raises(CniError, match="is no JSON object") as caught:
            parse(ENV, text)
        assert caught.value.code == 6


EARLIER: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "dummy0", "mtu": 9000, "sandbox": "/ns"}, {"name": "host1", "mac": "02:00:00:00:00:01"}],
    "ips": [{"address": "192.0.2.7/24", "interface": 0}, {"address": "2001:db8::7/64"}],
    "routes": [{"dst": "198.51.100.0/24", "mtu": 1400, "gw": "192.0.2.1"}],
    "dns": {"nameservers": ["9.9.9.9"]},
}


def test_what_others_made_before_is_handed_on() -> None:
    """CNI specification, section 2: a plugin must pass prevResult through, or modify it; once it was refused."""
    ours = result.Result(
        (result.Interface("eth0", "0a:58:0a:f4:01:02", 1450, "/ns"),), (result.IP("10.244.1.2/24", "10.244.1.1", 0),),
        (("0.0.0.0/0", "10.244.1.1"),),
    )  # fmt: skip
    earlier = call(prevResult=EARLIER).config.previous
    assert earlier is not None
    newest = json.loads(behind(earlier, ours, "1.1.0"))
    assert [each["name"] for each in newest["interfaces"]] == ["dummy0", "host1", "eth0"]
    assert newest["ips"][2] == {"address": "10.244.1.2/24", "gateway": "10.244.1.1", "interface": 2}
    for name in ("interfaces", "ips", "routes"):
        assert newest[name][: len(EARLIER[name])] == EARLIER[name]
    assert newest["dns"] == EARLIER["dns"]
    older = json.loads(behind(earlier, ours, "0.4.0"))
    assert older["cniVersion"] == "0.4.0"
    assert [each["version"] for each in older["ips"]] == ["4", "6", "4"]
    assert not any("mtu" in each for each in (*older["interfaces"], *older["routes"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"ips": []}, "prevResult does not say 10.244.1.2/24"),
        ({"interfaces": []}, "prevResult says no interface eth0 in a sandbox"),
        ({"interfaces": [{"name": "eth0"}]}, "prevResult says no interface eth0 in a sandbox"),
        ({"interfaces": [{"name": "eth0", "sandbox": "/other"}]}, "prevResult's sandbox of eth0 is '/other'"),
    ],
)
def test_a_check_consults_what_the_runtime_kept(change: dict[str, Any], words: str) -> None:
    kept = {
        "interfaces": [{"name": "eth0", "sandbox": "/ns", "mac": "02:AA:00:00:00:01"}],
        "ips": [{"address": "10.244.1.2/24"}],
    }
    found = call(prevResult=kept | change).config.previous
    assert found is not None
    problem = found.problem("eth0", "/ns", ["10.244.1.2/24"])
    assert (words in problem) if words else (problem, found.mac("eth0")) == ("", "02:aa:00:00:00:01")


def test_what_a_runtime_asks_for_one_container() -> None:
    asked = {
        "portMappings": [
            PORT,
            {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "fd00::0:1"},
            {"containerPort": 9},
        ],
        "ips": ["10.244.1.9/24", "fd00::9"], "mac": "02:AA:00:00:00:07",
    }  # fmt: skip
    config = call(runtimeConfig=asked, args={"cni": {"ips": []}}).config
    assert config.ports == (Port(8080, 80), Port(53, 5353, "UDP", "fd00::1"))
    assert config.ips == ("10.244.1.9", "fd00::9")
    assert config.mac == "02:aa:00:00:00:07"
    assert call(**mapped(hostIP="::ffff:172.30.0.11")).config.ports[0].host_ip == "172.30.0.11"
    assert call(runtimeConfig={"portMappings": None}).config.ports == ()
    assert call(**rated(ingressRate=8000, ingressBurst=16000)).config.bandwidth == Bandwidth(8000, 16000)
    assert call(**rated()).config.bandwidth == call(runtimeConfig={"bandwidth": None}).config.bandwidth == Bandwidth()
    four = [{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "gateway": "10.0.0.1"}, {"subnet": "10.0.2.0/30"}]
    assert call(**ranged(four, [{"subnet": "fd00::/126", "rangeEnd": "fd00::2"}])).config.ranges == {
        4: (Range("10.0.0.9", "10.0.0.255"), Range("10.0.2.0", "10.0.2.3")), 6: (Range("fd00::", "fd00::2"),),
    }  # fmt: skip
    assert call(runtimeConfig={"ipRanges": None}).config.ranges == call(**ranged()).config.ranges == {}
    others = {"aliases": ["a"], "cgroupPath": "/x", "deviceID": "0000:00:1f.6", "infinibandGUID": "c2:11:22:33:44:55"}
    assert call(runtimeConfig=others).config == call().config, "capabilities that are for other plugins"
    assert call(args={"cni": {"ips": ["10.244.1.9"]}, "other": 1}).config.ips == ("10.244.1.9",)
    assert call(dns={"nameservers": ["9.9.9.9"]}).config.dns == {"nameservers": ["9.9.9.9"]}
    asked = {"dns": {"servers": ["10.96.0.10"], "options": ["ndots:5"]}}
    assert call(dns={"nameservers": ["9.9.9.9"]}, runtimeConfig=asked).config.dns == {
        "nameservers": ["10.96.0.10"], "options": ["ndots:5"],
    }  # fmt: skip


def test_a_runtime_without_capabilities_asks_by_arguments() -> None:
    """podman, CRI-O's ocicni and nerdctl write `--ip` and `--mac-address` there; they were passed over in silence."""
    words = {"CNI_ARGS": "IgnoreUnknown=1;IP=10.244.1.9;MAC=02:AA:00:00:00:07"}
    assert (call(words).config.ips, call(words).config.mac) == (("10.244.1.9",), "02:aa:00:00:00:07")
    twice = call(words, runtimeConfig={"ips": ["10.244.1.9/24", "fd00::9"], "mac": "02:00:00:00:00:01"}).config
    assert (twice.ips, twice.mac) == (("10.244.1.9", "fd00::9"), "02:00:00:00:00:01")
    assert call({"CNI_ARGS": "IP=10.244.1.9/24,fd00::9"}).config.ips == ("10.244.1.9", "fd00::9")
    assert call({"CNI_ARGS": "IgnoreUnknown=1"}, args={"cni": {"mac": "02:00:00:00:00:02"}}).config.mac[-1] == "2"
    assert call({"CNI_COMMAND": "DEL", "CNI_ARGS": "IP=x;MAC=y"}).config.ips == ()


def test_containerd_writes_names_as_go_does() -> None:
    """Seen with containerd 1.6: no plugin in Go notices, ours refused every host port."""
    config = call(
        runtimeConfig={
            "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}],
            "bandwidth": {"IngressRate": 8000, "IngressBurst": 2**32 - 1, "EgressRate": 0, "EgressBurst": 0},
            "dns": {"Servers": ["10.96.0.10"], "Searches": ["a"], "Options": []},
        }
    ).config
    assert config.ports == (Port(8080, 80),)
    assert config.bandwidth == Bandwidth(8000, 2**32 - 1)
    assert config.dns == {"nameservers": ["10.96.0.10"], "search": ["a"]}


def test_what_was_asked_for_is_no_matter_when_it_ends() -> None:
    wrong = {"portMappings": [{"hostPort": "x"}], "mac": 7}
    assert call({"CNI_COMMAND": "DEL"}, runtimeConfig=wrong, args={"cni": 3}).config.ports == ()
    assert call({"CNI_COMMAND": "DEL", "CNI_ARGS": "nonsense"}).pod == {}
    edited = {"mtu": "big", "dns": 5, "prevResult": [], "ipam": "x", "cni.dev/valid-attachments": 1}
    assert call({"CNI_COMMAND": "DEL"}, **edited).key == ("abc-1", "eth0")
    assert (
        call({"CNI_COMMAND": "GC"}, cniVersion="1.1.0", **{**edited, "cni.dev/valid-attachments": []}).config.valid
        == ()
    )
    with pytest.raises(CniError, match="mtu"):
        call({"CNI_COMMAND": "STATUS"}, cniVersion="1.1.0", **edited)
    with pytest.raises(CniError, match="runtimeConfig"):
        call(runtimeConfig=wrong)


def test_what_is_in_use_by_either_name() -> None:
    """The specification's first draft had one name, its text another, and libcni writes both."""
    listed = [{"containerID": "c1", "ifname": "eth0"}]
    for name in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        assert call({"CNI_COMMAND": "GC"}, cniVersion="1.1.0", **{name: listed}).config.valid == (("c1", "eth0"),)


def test_what_is_not_json() -> None:
    with pytest.raises(CniError) as caught:
        parse(ENV, b"{")
    assert caught.value.code is Code.DECODING_FAILURE


def test_commands_need_what_the_specification_says() -> None:
    assert call({"CNI_COMMAND": "DEL", "CNI_NETNS": ""}).netns == ""
    few = {"CNI_COMMAND": "STATUS", "CNI_CONTAINERID": "", "CNI_IFNAME": "", "CNI_NETNS": ""}
    assert call(few, cniVersion="1.1.0").command == "STATUS"
    attachments = {"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}
    assert call({**few, "CNI_COMMAND": "GC"}, cniVersion="1.1.0", **attachments).config.valid == (("a", "eth0"),)


RESULT = result.Result(
    (result.Interface("cbr0", "0a:58:0a:f4:01:01", 1500), result.Interface("eth0", "0a:58:0a:f4:01:05", 1500, "/ns")),
    (result.IP("10.244.1.5/24", "10.244.1.1", 1), result.IP("fd00::5/64", "fd00::1", 1)),
    (("0.0.0.0/0", "10.244.1.1"), ("::/0", "fd00::1")),
    {"nameservers": ["10.96.0.10"]},
)


@pytest.mark.parametrize("version", versions.SUPPORTED)
def test_a_result_has_its_versions_shape(version: str) -> None:
    found = json.loads(result.encode(RESULT, version))
    assert found["cniVersion"] == version
    assert found["interfaces"][1]["sandbox"] == "/ns"
    assert "sandbox" not in found["interfaces"][0]
    assert ("mtu" in found["interfaces"][0]) == (version == "1.1.0")
    assert [ip.get("version") for ip in found["ips"]] == (["4", "6"] if version < "1" else [None, None])
    assert found["ips"][1] == {**found["ips"][1], "address": "fd00::5/64", "gateway": "fd00::1", "interface": 1}
    assert found["routes"][1] == {"dst": "::/0", "gw": "fd00::1"}
    assert found["dns"] == {"nameservers": ["10.96.0.10"]}


def test_an_error_object() -> None:
    error = CniError(Code.TRY_AGAIN_LATER, "not now", "because")
    assert json.loads(result.encode_error(error, "0.4.0")) == {
        "cniVersion": "0.4.0", "code": 11, "msg": "not now", "details": "because",
    }  # fmt: skip
    assert json.loads(result.encode_error(error, "9.9.9"))["cniVersion"] == "1.1.0"


@given(
    st.dictionaries(st.text("ABC_", min_size=1), st.text(st.characters(exclude_characters="\0", codec="utf-8"))),
    st.binary(),
)
def test_framing_round_trip(env: dict[str, str], config: bytes) -> None:
    assert framing.decode_call(framing.encode_call(env, config)) == (env, config)


@given(st.binary())
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(CniError) as caught:
        framing.decode_call(b"x" + data)
    assert caught.value.code is Code.DECODING_FAILURE
