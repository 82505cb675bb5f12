"""The manifests as objects, with what is particular to a cluster set in them; the same for a lab and a real cluster."""

import json
from importlib import resources
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import yaml

from clew.api.kinds import KINDS, Kind
from clew.api.objects import Object
from clew.app import agent_config, agent_start
from clew.app.dns_config import DnsConfiguration
from clew.app.network_config import NetworkConfiguration
from clew.base.value import Value

_OF_POOLS = ("pools.yaml", "ipam.yaml")
PARTS = (*_OF_POOLS, "agent.yaml", "dns.yaml")
STARTED_WITH = "clew.dev/started-with"  # the annotation of an agent's pod by which another start is asked for
AGENT = "clew-agent"
_DNS_AT = 10


class ClusterFacts(Value):
    """What the manifests need to know of a cluster."""

    pod_cidrs: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    api_host: str = ""  # where the agent finds the API server before services work; "": the usual variables
    api_port: int = 6443
    proxy: dict[str, Any] = msgspec.field(default_factory=dict)
    network: NetworkConfiguration = msgspec.field(default_factory=NetworkConfiguration)
    dns: DnsConfiguration = msgspec.field(default_factory=DnsConfiguration)
    pools: bool = True  # whether IPPools are to be had: a configuration that is changed later may ask for them
    edition: int = 0  # another one has the agents begun anew with the same configuration


def dns_address(service_cidr: str) -> str:
    return str(ip_network(service_cidr).network_address + _DNS_AT)


def objects(facts: ClusterFacts) -> list[Object]:
    """All objects in the order in which they are applied."""
    made: list[Object] = []
    for name in PARTS:
        if name in _OF_POOLS and not facts.pools:
            continue
        text = resources.files("clew.app.manifests").joinpath(name).read_text(encoding="utf-8")
        made += [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    for obj in made:
        _complete(obj, facts)
    return made


def _complete(obj: Object, facts: ClusterFacts) -> None:
    match obj["kind"], obj["metadata"]["name"]:
        case "ConfigMap", "clew-agent":
            obj["data"]["agent.yaml"] = agent_configuration(facts)
        case "Role", "clew-agent-ipsec":
            obj["rules"][0]["resourceNames"] = [facts.network.ipsec.secret]
        case "DaemonSet", "clew-agent":
            container = _follow_configuration(obj, facts)
            if facts.api_host:
                container["env"] += [
                    {"name": "KUBERNETES_SERVICE_HOST", "value": facts.api_host},
                    {"name": "KUBERNETES_SERVICE_PORT", "value": str(facts.api_port)},
                ]
        case "Service", "kube-dns":
            obj["spec"]["clusterIP"] = dns_address(facts.service_cidrs[0])
            if len(facts.service_cidrs) > 1:
                obj["spec"]["clusterIPs"] = [dns_address(each) for each in facts.service_cidrs]
                obj["spec"]["ipFamilyPolicy"] = "PreferDualStack"


def _follow_configuration(daemon_set: Object, facts: ClusterFacts) -> Object:
    """Another template where agents have to begin anew, asked whether they have at their own address; its container."""
    configuration = agent_config.parse(agent_configuration(facts))
    template = daemon_set["spec"]["template"]
    begun = f"{agent_start.digest(configuration)}-{facts.edition}"
    template["metadata"]["annotations"] = {STARTED_WITH: begun}
    container: Object = template["spec"]["containers"][0]
    host, _, port = configuration.proxy.healthz.rpartition(":")
    asked = container["startupProbe"]["httpGet"]
    asked["port"] = int(port)
    if not ip_address(host.strip("[]")).is_unspecified:
        asked["host"] = host.strip("[]")
    return container


def agent_configuration(facts: ClusterFacts) -> str:
    """The agent's file: JSON documents, which are YAML too and read without a YAML parser."""
    agent = {
        "apiVersion": "clew.dev/v1alpha1", "kind": "AgentConfiguration",
        "clusterCIDRs": list(facts.pod_cidrs), "serviceCIDRs": list(facts.service_cidrs),
        "network": msgspec.to_builtins(facts.network), "dns": msgspec.to_builtins(facts.dns),
    }  # fmt: skip
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
        "clusterCIDR": ",".join(facts.pod_cidrs), **facts.proxy,
    }  # fmt: skip
    return f"{json.dumps(agent)}\n---\n{json.dumps(proxy)}\n"


def kind_of(obj: Object) -> Kind:
    return next(kind for kind in KINDS if (kind.api_version, kind.kind) == (obj["apiVersion"], obj["kind"]))
