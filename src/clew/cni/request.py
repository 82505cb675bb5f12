"""A CNI call as the runtime makes it: environment and network configuration, checked and typed.

Called by node/cni_server.py with what the plugin passed on. Every refusal names the field, its value and what would be
right. CNI specification 1.1, sections 1 (configuration) and 2 (protocol).
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from clew.base.value import Value
from clew.cni import runtime_config, versions
from clew.cni.errors import CniError, Code
from clew.cni.runtime_config import Args, Bandwidth, Port, RuntimeConfig

Command = Literal["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]

NEEDED: Mapping[str, tuple[str, ...]] = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}
_ASKING = frozenset({"ADD", "CHECK"})  # in which a runtime says what it wants for the container
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}  # the version that brought the command

LOOPBACK = "loopback"  # a plugin's type
IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
INTERFACE = re.compile(r"[^\s/:\0]{1,15}")


class Config(Value):
    """The part of the network configuration that Clew acts on."""

    version: str
    name: str
    mtu: int = 0  # 0: what the way between the nodes allows
    valid: tuple[tuple[str, str], ...] | None = None  # GC: the attachments that exist, (container, interface)
    chained: bool = False  # prevResult is there
    dns: Mapping[str, Any] = {}
    previous: tuple[str, ...] | None = None  # CHECK: the addresses that prevResult says, with their lengths
    ports: tuple[Port, ...] = ()
    ips: tuple[str, ...] = ()  # addresses that the runtime chose, bare
    mac: str = ""
    bandwidth: Bandwidth = Bandwidth()
    loopback: bool = False  # the call is for `loopback`, which runtimes have brought up for every pod


class Call(Value):
    command: Command
    config: Config
    container: str = ""
    netns: str = ""
    ifname: str = ""
    pod: Mapping[str, str] = {}  # K8S_POD_NAMESPACE and its like, from CNI_ARGS
    any_netns: bool = False  # CNI_NETNS may be the node's own network

    @property
    def key(self) -> tuple[str, str]:
        return self.container, self.ifname


class _Attachment(msgspec.Struct):
    containerID: str  # noqa: N815 - the specification's own name
    ifname: str


class _Config(msgspec.Struct):
    cniVersion: str = "0.1.0"  # noqa: N815 - what the specification takes for a missing one
    name: str = ""
    type: str = ""
    mtu: int = 0
    dns: dict[str, Any] = {}
    prevResult: dict[str, Any] | None = None  # noqa: N815
    runtimeConfig: RuntimeConfig = msgspec.field(default_factory=RuntimeConfig)  # noqa: N815
    args: Args = msgspec.field(default_factory=Args)
    valid: list[_Attachment] | None = msgspec.field(default=None, name="cni.dev/valid-attachments")
    valid_too: list[_Attachment] | None = msgspec.field(default=None, name="cni.dev/attachments")  # libcni writes both
    ipam: dict[str, Any] | None = None


def parse(env: Mapping[str, str], config: bytes) -> Call:
    """One call; CniError with the specification's code where something is wrong with it."""
    command = env.get("CNI_COMMAND", "")
    if command not in get_args(Command):
        raise _environment("CNI_COMMAND", command, f"one of {', '.join(get_args(Command))}")
    for name in NEEDED[command]:
        if not env.get(name):
            raise CniError(Code.INVALID_ENVIRONMENT, f"{name} is not set", f"{command} needs it")
    return Call(
        command=command,  # type: ignore[arg-type]  # it is one of them
        config=_parse_config(command, config),
        container=_matching(env, "CNI_CONTAINERID", IDENTIFIER, "letters, digits, '_', '.' and '-'"),
        netns=env.get("CNI_NETNS", ""),
        ifname=_interface(env),
        pod=_parse_args(env.get("CNI_ARGS", "")),
        any_netns=env.get("CNI_NETNS_OVERRIDE", "").lower() in {"1", "t", "true"},
    )


def _parse_config(command: str, config: bytes) -> Config:
    try:
        document = msgspec.json.decode(config, type=dict[str, Any])
        if command in _ASKING:
            document["runtimeConfig"] = runtime_config.folded(document.get("runtimeConfig") or {})
        else:  # what was asked for is no matter where all of it goes: a DEL must not fail by it
            document = {name: value for name, value in document.items() if name not in {"runtimeConfig", "args"}}
        found = msgspec.convert(document, _Config)
    except msgspec.ValidationError as wrong:
        raise CniError(Code.INVALID_CONFIGURATION, "the network configuration is invalid", str(wrong)) from wrong
    except msgspec.DecodeError as wrong:
        raise CniError(Code.DECODING_FAILURE, "the network configuration is not JSON", str(wrong)) from wrong
    version = versions.checked(found.cniVersion)
    since = SINCE.get(command, "")
    if since and versions.SUPPORTED.index(version) < versions.SUPPORTED.index(since):
        raise CniError(Code.INCOMPATIBLE_VERSION, f"{command} does not exist in CNI {version}", f"it came with {since}")
    if not IDENTIFIER.fullmatch(found.name):
        raise _configuration("name", found.name, "letters, digits, '_', '.' and '-'")
    if found.mtu and not 68 <= found.mtu <= 65535:
        raise _configuration("mtu", found.mtu, "0, or 68 to 65535")
    listed = found.valid_too if found.valid is None else found.valid
    valid = None if listed is None else tuple((one.containerID, one.ifname) for one in listed)
    if command == "GC" and valid is None:
        raise CniError(
            Code.INVALID_CONFIGURATION,
            "cni.dev/valid-attachments is missing",
            "GC needs the list of what is in use; an empty list removes everything",
        )
    if command in _ASKING and found.ipam:
        text = f"ipam is {msgspec.json.encode(found.ipam).decode()}"
        raise CniError(Code.UNSUPPORTED_FIELD, text, "the agent gives addresses: see network.ipam of its configuration")
    asked = found.runtimeConfig
    return Config(
        version,
        found.name,
        found.mtu,
        valid,
        found.prevResult is not None,
        runtime_config.dns(asked) or found.dns,
        _previous(found.prevResult),
        runtime_config.ports(asked),
        runtime_config.ips([*asked.ips, *found.args.cni.ips]),
        runtime_config.mac(asked.mac),
        runtime_config.bandwidth(asked),
        found.type == LOOPBACK,
    )


def _previous(result: dict[str, Any] | None) -> tuple[str, ...] | None:
    """The addresses in a result of any version; None where there is none."""
    if result is None:
        return None
    listed = result.get("ips")
    entries = listed if isinstance(listed, list) else []
    return tuple(str(entry["address"]) for entry in entries if isinstance(entry, dict) and "address" in entry)


def _parse_args(text: str) -> dict[str, str]:
    """`K8S_POD_NAME=web;K8S_POD_NAMESPACE=default` as a mapping; CniError (4) where a part has no '='."""
    pairs = [part.partition("=") for part in text.split(";") if part]
    if any(not separator for _, separator, _ in pairs):
        raise _environment("CNI_ARGS", text, "KEY=VALUE pairs with ';' between them")
    return {key: value for key, _, value in pairs}


def _interface(env: Mapping[str, str]) -> str:
    name = _matching(env, "CNI_IFNAME", INTERFACE, "1 to 15 characters without '/', ':' and blanks")
    if name in {".", ".."}:
        raise _environment("CNI_IFNAME", name, "a name that the kernel takes")
    return name


def _matching(env: Mapping[str, str], name: str, pattern: re.Pattern[str], rule: str) -> str:
    value = env.get(name, "")
    if value and not pattern.fullmatch(value):
        raise _environment(name, value, rule)
    return value


def _environment(name: str, value: str, rule: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, f"{name} is {value!r}", f"it must be {rule}")


def _configuration(field: str, value: object, rule: str) -> CniError:
    return CniError(Code.INVALID_CONFIGURATION, f"{field} is {value!r}", f"it must be {rule}")
