"""The agent's configuration: a file of YAML documents `KubeProxyConfiguration` and `AgentConfiguration`, and flags.

Either document may be missing, and so may the file; none may be there twice, and what neither knows is refused by its
path. kube-proxy's flags are another way to say what is in the first of them (app/kube_proxy_command_line). JSON is YAML
too, and is read without loading a YAML parser, which would cost every node 25 ms and 3 MB.
"""

import json
import socket
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec

from clew.app import dns_config, kube_proxy_command_line, kube_proxy_config, kube_proxy_settings, network_config
from clew.app.dns_config import DnsConfiguration
from clew.app.document_fields import convert
from clew.app.kube_proxy_command_line import Given
from clew.app.kube_proxy_config import KubeProxyConfiguration
from clew.app.network_config import NetworkConfiguration
from clew.app.section import Section
from clew.base.addresses import network
from clew.base.errors import UserError
from clew.base.value import Value
from clew.cni.request import IDENTIFIER
from clew.compile.ranges import no_pods

API_VERSION = "clew.dev/v1alpha1"
KIND = "AgentConfiguration"
_LONGEST_SOCKET = 107  # bytes of a Unix socket's path (unix(7))


class AgentConfiguration(Section):
    """What a node's agent needs to know beside the cluster's objects. Paths are in the agent's own file system."""

    api_version: str = API_VERSION
    kind: str = KIND
    cluster_cidrs: list[str] = msgspec.field(default_factory=list, name="clusterCIDRs")  # of all pods
    service_cidrs: list[str] = msgspec.field(default_factory=list, name="serviceCIDRs")
    mtu: int = 0  # of pods; 0: that of the way to the other nodes
    masquerade: bool = True  # what leaves the cluster takes the node's address
    network: NetworkConfiguration = msgspec.field(default_factory=NetworkConfiguration)
    dns: DnsConfiguration = msgspec.field(default_factory=DnsConfiguration)
    kubeconfig: str = ""  # "": the service account's files
    socket_path: str = "/run/clew/cni.sock"
    state_dir: str = "/var/lib/clew-agent"
    cni_bin_dir: str = "/opt/cni/bin"
    cni_conf_file: str = "/etc/cni/net.d/10-clew.conflist"
    network_name: str = "clew"


class AgentOptions(Value):
    """The command line."""

    config: Path | None = None
    node: str = ""  # the name of the Node that this agent runs on; "": as the configuration says, else the machine's
    init_only: bool = False  # do what needs rights beyond the rules, and end
    flags: Given = ()  # kube-proxy's
    master: str = ""  # the API server's address, whatever a kubeconfig says


class Configuration(Value):
    agent: AgentConfiguration
    proxy: KubeProxyConfiguration
    passed_over: tuple[str, ...] = ()  # kube-proxy's flags that do not count beside the file


def load(options: AgentOptions) -> Configuration:
    """UserError where the file cannot be read, or it or a flag says something that it may not."""
    if options.config is None:
        return parse("", options.flags)
    try:
        text = options.config.read_text(encoding="utf-8")
    except OSError as problem:
        raise UserError(
            f"cannot read {options.config}: {problem.strerror}", "name the agent's configuration by --config"
        ) from problem
    return parse(text, options.flags)


def node_name(options: AgentOptions, configuration: Configuration) -> str:
    """Which Node this is; like kube-proxy's, a machine's own name in small letters where nobody says."""
    return options.node or configuration.proxy.hostname_override or socket.gethostname().lower()


def parse(text: str, flags: Given = ()) -> Configuration:
    found: dict[str, Any] = {}
    for document in _documents(text):
        kind = document.get("kind") if isinstance(document, dict) else None
        if not isinstance(kind, str) or kind not in {KIND, kube_proxy_config.KIND}:
            raise UserError(f"a document of kind {kind!r}", f"use {KIND} and {kube_proxy_config.KIND}")
        if kind in found:
            raise UserError(f"kind {kind} is there twice", "keep one")
        found[kind] = document
    _check_version(found.get(KIND), KIND, API_VERSION)
    _check_version(found.get(kube_proxy_config.KIND), kube_proxy_config.KIND, kube_proxy_config.API_VERSION)
    said = kube_proxy_command_line.document(flags, found.get(kube_proxy_config.KIND))
    with kube_proxy_command_line.named(said.taken):
        proxy = kube_proxy_config.parse(said.content)
        kube_proxy_settings.check(proxy)
    return Configuration(_agent(found.get(KIND, {})), proxy, said.passed_over)


def _check_version(document: Any, kind: str, version: str) -> None:
    said = version if document is None else document.get("apiVersion")
    if said != version:
        raise UserError(f"{kind}: apiVersion is {said!r}", f"it must be {version}")


def _documents(text: str) -> list[Any]:
    try:
        return [json.loads(part, object_pairs_hook=_object) for part in text.split("\n---\n") if part.strip()]
    except ValueError:
        pass
    import yaml  # noqa: PLC0415 - only where the file is not JSON

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # one of two, by the machine
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            _object([(key.value, key.start_mark.line + 1) for key, _ in node.value if isinstance(key.value, str)])
            found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            return found

    try:
        return [document for document in yaml.load_all(text, Loader) if document is not None]
    except yaml.YAMLError as wrong:
        said = " ".join(str(wrong).split())
        raise UserError(f"the configuration is not YAML: {said}", "indentation is the usual culprit") from wrong


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """UserError for a key that is there twice: of two modes nobody could say which one counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(key == name for key, _ in pairs) > 1)
        raise UserError(f"the configuration has {twice!r} twice in one place", "keep one of them")
    return found


def _agent(document: Any) -> AgentConfiguration:
    try:
        found = msgspec.convert(document, AgentConfiguration)
    except msgspec.ValidationError as wrong:
        try:
            convert(document, AgentConfiguration)  # says the same by path, and what would be right
        except UserError as better:
            raise UserError(f"{KIND}: {better.message}", better.remedy) from wrong
        raise UserError(f"{KIND}: {wrong}", "see docs/design/agent.md for the fields") from wrong
    _check_ranges(found)
    network_config.check(found.network, f"{KIND}: network")
    dns_config.check(found.dns, f"{KIND}: dns")
    if found.mtu and not 1280 <= found.mtu <= 65535:
        raise UserError(f"{KIND}: mtu: {found.mtu} is out of range", "use 0, or 1280 (IPv6's least) to 65535")
    if not IDENTIFIER.fullmatch(found.network_name):
        said = f"{KIND}: networkName: {found.network_name!r} is no name of a CNI network"
        raise UserError(said, "use letters, digits, '_', '.' and '-'")
    _check_paths(found)
    return found


def _check_paths(found: AgentConfiguration) -> None:
    for field, value in (
        ("socketPath", found.socket_path),
        ("stateDir", found.state_dir),
        ("cniBinDir", found.cni_bin_dir),
        ("cniConfFile", found.cni_conf_file),
    ):
        if not value.startswith("/") or '"' in value or "\\" in value:
            raise UserError(f"{KIND}: {field}: {value!r} is not an absolute path in plain characters", "write it out")
    if len(found.socket_path.encode()) > _LONGEST_SOCKET:
        raise UserError(
            f"{KIND}: socketPath: {found.socket_path!r} is too long", f"Linux takes {_LONGEST_SOCKET} bytes"
        )
    if not found.cni_conf_file.endswith(".conflist"):
        raise UserError(
            f"{KIND}: cniConfFile: {found.cni_conf_file!r} is no list to a runtime", "name a file NAME.conflist"
        )


def _check_ranges(found: AgentConfiguration) -> None:
    """Ranges that hold, and share no address: a pod's that is a service's, too, is never reached."""
    ranges = []
    for field, cidrs in (("clusterCIDRs", found.cluster_cidrs), ("serviceCIDRs", found.service_cidrs)):
        for place, cidr in enumerate(cidrs):
            where = f"{KIND}: {field}[{place}]"
            try:
                found_range = network(cidr)
            except ValueError as wrong:
                raise UserError(f"{where}: {wrong}", "write it as 10.244.0.0/16") from wrong
            if why := no_pods(found_range):
                raise UserError(f"{where}: {why}", "use a private range: 10.0.0.0/8, fd00::/8")
            ranges.append((where, found_range))
    for (one, first), (other, second) in combinations(ranges, 2):
        if first.version == second.version and first.overlaps(second):
            raise UserError(
                f"{other}: {second} overlaps with {one.removeprefix(f'{KIND}: ')}, {first}",
                "choose ranges apart from each other",
            )
