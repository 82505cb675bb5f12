"""A CNI call as the runtime makes it: environment and network configuration, checked and typed.

Called by node/cni_server.py with what the plugin passed on. Every refusal names the field, its value and what would be
right. CNI specification 1.1, sections 1 (configuration) and 2 (protocol).
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from clew.base.value import Value
from clew.cni import ip_ranges, previous, runtime_config, versions
from clew.cni.errors import CniError, Code
from clew.cni.ip_ranges import Range
from clew.cni.previous import Previous
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
_KEPT = ("cni.dev/valid-attachments", "cni.dev/attachments")  # by GC
# What was asked for is no matter where all of it goes: a DEL must not fail by it, nor by a file that was edited since
_READ = {
    "DEL": frozenset({"cniVersion", "name", "type"}),
    "GC": frozenset({"cniVersion", "name", "type", *_KEPT}),
    "STATUS": frozenset({"cniVersion", "name", "type", "mtu", "dns", "ipam"}),
    "VERSION": frozenset({"cniVersion", "name"}),
}
_KEPT_AS_TEXT = ("CNI_NETNS", "CNI_ARGS")  # by the journal, from an ADD
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}  # the version that brought the command

LOOPBACK = "loopback"  # a plugin's type
IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
INTERFACE = re.compile(r"[^\s/:%\0]{1,15}")  # the kernel takes a '%' for a number that it chooses
NO_NAMES = frozenset({".", "..", "all", "default"})  # of an interface: paths, and folders of its sysctls
LONGEST_NAME = 15  # bytes of an interface's name
LONGEST_ID = 200  # of a container: link's alias and tombstone carry it, and an interface beside it


class Config(Value):
    """The part of the network configuration that Clew acts on."""

    version: str
    name: str
    mtu: int = 0  # 0: what the way between the nodes allows
    valid: tuple[tuple[str, str], ...] | None = None  # GC: the attachments that exist, (container, interface)
    dns: Mapping[str, Any] = {}
    previous: Previous | None = None
    ports: tuple[Port, ...] = ()
    ips: tuple[str, ...] = ()  # addresses that the runtime chose, bare
    ranges: Mapping[int, tuple[Range, ...]] = {}  # by family, among which others are to be chosen
    mac: str = ""
    bandwidth: Bandwidth = Bandwidth()
    loopback: bool = False  # the call is for `loopback`, which runtimes have brought up for every pod


class Call(Value):
    command: Command
    config: Config
    container: str = ""
    netns: str = ""
    ifname: str = ""
    pod: Mapping[str, str] = {}  # K8S_POD_NAMESPACE and its like, from the CNI_ARGS of ADD and CHECK
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
    dns: runtime_config.Dns = msgspec.field(default_factory=runtime_config.Dns)
    prevResult: dict[str, Any] | None = None  # noqa: N815
    runtimeConfig: RuntimeConfig = msgspec.field(default_factory=RuntimeConfig)  # noqa: N815
    args: Args = msgspec.field(default_factory=Args)
    valid: list[_Attachment] | None = msgspec.field(default=None, name=_KEPT[0])
    valid_too: list[_Attachment] | None = msgspec.field(default=None, name=_KEPT[1])  # libcni writes both
    ipam: dict[str, Any] | None = None


def parse(env: Mapping[str, str], config: bytes) -> Call:
    """One call; CniError with the specification's code where something is wrong with it."""
    command = env.get("CNI_COMMAND", "")
    if command not in get_args(Command):
        raise _environment("CNI_COMMAND", command, f"one of {', '.join(get_args(Command))}")
    if missing := [name for name in NEEDED[command] if not env.get(name)]:
        are = "is" if len(missing) == 1 else "are"
        raise CniError(Code.INVALID_ENVIRONMENT, f"{', '.join(missing)} {are} not set", f"{command} needs it")
    for name in ("CNI_IFNAME", *(_KEPT_AS_TEXT if command in _ASKING else ())):
        if not _is_text(env.get(name, "")):
            raise _environment(name, env[name], "UTF-8")
    words = _parse_args(env.get("CNI_ARGS", "")) if command in _ASKING else {}
    return Call(
        command=command,  # type: ignore[arg-type]  # it is one of them
        config=_parse_config(command, config, words),
        container=_container(env),
        netns=env.get("CNI_NETNS", ""),
        ifname=_interface(env),
        pod=words,
        any_netns=env.get("CNI_NETNS_OVERRIDE", "").lower() in {"1", "t", "true"},
    )


def _parse_config(command: str, config: bytes, words: Mapping[str, str]) -> Config:
    try:
        document = _without_nulls(_decoded(config))
        if command in _ASKING:
            document["runtimeConfig"] = runtime_config.folded(document.get("runtimeConfig", {}))
        else:
            document = {name: value for name, value in document.items() if name in _READ[command]}
        found = msgspec.convert(document, _Config)
    except msgspec.ValidationError as wrong:
        raise CniError(Code.INVALID_CONFIGURATION, "the network configuration is invalid", str(wrong)) from wrong
    version = versions.checked(found.cniVersion)
    since = SINCE.get(command, "")
    if since and versions.SUPPORTED.index(version) < versions.SUPPORTED.index(since):
        raise CniError(Code.INCOMPATIBLE_VERSION, f"{command} does not exist in CNI {version}", f"it came with {since}")
    if not IDENTIFIER.fullmatch(found.name):
        raise _configuration("name", found.name, "letters, digits, '_', '.' and '-'")
    if found.mtu and not 68 <= found.mtu <= 65535:
        raise _configuration("mtu", found.mtu, "0, or 68 to 65535")
    listed = found.valid if found.valid is not None else found.valid_too
    valid = None if listed is None else tuple((one.containerID, one.ifname) for one in listed)
    if command == "GC" and valid is None:
        raise CniError(
            Code.INVALID_CONFIGURATION,
            "cni.dev/valid-attachments is missing",
            "GC needs the list of what is in use; an empty list removes everything",
        )
    if found.ipam:
        text = f"ipam is {msgspec.json.encode(found.ipam).decode()}"
        raise CniError(Code.UNSUPPORTED_FIELD, text, "the agent gives addresses: see network.ipam of its configuration")
    asked = found.runtimeConfig
    return Config(
        version,
        found.name,
        found.mtu,
        valid,
        runtime_config.dns(asked) or runtime_config.shown(found.dns),
        previous.read(found.prevResult),
        runtime_config.ports(asked),
        runtime_config.ips(asked, found.args, words),
        ip_ranges.checked(asked.ipRanges),
        runtime_config.mac(asked, found.args, words),
        runtime_config.bandwidth(asked),
        found.type == LOOPBACK,
    )


def _decoded(config: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(config, type=dict[str, Any])
    except msgspec.DecodeError as wrong:
        raise CniError(Code.DECODING_FAILURE, "the network configuration is no JSON object", str(wrong)) from wrong


def _without_nulls(value: Any) -> Any:
    """As if what is null were not there, except in lists: runtimes in Go write so what they have nothing for.

    The attachments that GC is to keep are the exception: none of them is not the same as nothing said about them.
    """
    if isinstance(value, dict):
        kept = {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
        return kept | {name: [] for name in _KEPT if name in value and value[name] is None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _parse_args(text: str) -> dict[str, str]:
    """`K8S_POD_NAME=web;K8S_POD_NAMESPACE=default` as a mapping; CniError (4) where a part has no '='."""
    pairs = [part.partition("=") for part in text.split(";") if part]
    if any(not separator for _, separator, _ in pairs):
        raise _environment("CNI_ARGS", text, "KEY=VALUE pairs with ';' between them")
    return {key: value for key, _, value in pairs}


def _container(env: Mapping[str, str]) -> str:
    found = _matching(env, "CNI_CONTAINERID", IDENTIFIER, "letters, digits, '_', '.' and '-'")
    if len(found) > LONGEST_ID:
        raise _environment("CNI_CONTAINERID", found, f"at most {LONGEST_ID} characters")
    return found


def _interface(env: Mapping[str, str]) -> str:
    name = _matching(env, "CNI_IFNAME", INTERFACE, "1 to 15 characters without '/', ':', '%' and blanks")
    if name in NO_NAMES or len(name.encode()) > LONGEST_NAME:
        raise _environment("CNI_IFNAME", name, f"a name that the kernel takes, of at most {LONGEST_NAME} bytes")
    return name


def _is_text(value: str) -> bool:
    """Whether it was UTF-8 when it came; what was not is in there as surrogates (PEP 383)."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _matching(env: Mapping[str, str], name: str, pattern: re.Pattern[str], rule: str) -> str:
    value = env.get(name, "")
    if value and not pattern.fullmatch(value):
        raise _environment(name, value, rule)
    return value


def _environment(name: str, value: str, rule: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, f"{name} is {value!r}", f"it must be {rule}")


def _configuration(field: str, value: object, rule: str) -> CniError:
    return CniError(Code.INVALID_CONFIGURATION, f"{field} is {value!r}", f"it must be {rule}")
