"""A pod's name and how it resolves others: /etc/resolv.conf, /etc/hosts and the hostname. Pure.

Rules: the Kubernetes documentation of dnsPolicy, dnsConfig, hostAliases, hostname and subdomain; limits of resolver
libraries as the kubelet applies them (three servers, 32 search domains of 2048 characters in all).
"""

from collections.abc import Sequence

from clew.api.objects import Object
from clew.cluster.kubelet.config import KubeletConfig

_SERVERS, _DOMAINS, _CHARACTERS = 3, 32, 2048
_HOSTNAME = 63


def resolv_conf(pod: Object, config: KubeletConfig) -> str:
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    servers: list[str] = []
    search: list[str] = []
    options: dict[str, str | None] = {}
    if policy in {"ClusterFirst", "ClusterFirstWithHostNet"}:
        servers = list(config.cluster_dns)
        domain = config.cluster_domain
        search = [f"{pod['metadata']['namespace']}.svc.{domain}", f"svc.{domain}", domain]
        options = {"ndots": "5"}
    elif policy == "Default":
        servers = list(config.nameservers)
    added = spec.get("dnsConfig") or {}
    servers = _unique([*servers, *(added.get("nameservers") or ())])[:_SERVERS]
    search = _fitting(_unique([*search, *(added.get("searches") or ())]))
    options |= {each["name"]: each.get("value") for each in added.get("options") or ()}
    lines = [f"search {' '.join(search)}"] if search else []
    lines += [f"nameserver {server}" for server in servers]
    if options:
        lines.append(f"options {' '.join(_option(name, value) for name, value in options.items())}")
    return "".join(f"{line}\n" for line in lines)


def _option(name: str, value: str | None) -> str:
    return name if value is None else f"{name}:{value}"


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _fitting(domains: list[str]) -> list[str]:
    kept: list[str] = []
    for domain in domains[:_DOMAINS]:
        if len(" ".join([*kept, domain])) > _CHARACTERS:
            break
        kept.append(domain)
    return kept


def hostname(pod: Object, config: KubeletConfig) -> str:
    """What gethostname answers in the pod."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return config.node
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"])
    full = fqdn(pod, config)
    if spec.get("setHostnameAsFQDN") and full:
        return full
    return _short(pod)


def fqdn(pod: Object, config: KubeletConfig) -> str:
    """The name under the pod's subdomain, or nothing without one."""
    subdomain = pod["spec"].get("subdomain")
    if not subdomain:
        return ""
    return f"{_short(pod)}.{subdomain}.{pod['metadata']['namespace']}.svc.{config.cluster_domain}"


def _short(pod: Object) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:_HOSTNAME].rstrip("-.")


def hosts(pod: Object, config: KubeletConfig, addresses: Sequence[str]) -> str:
    """The managed /etc/hosts; `addresses` are the pod's."""
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "fe00::\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    short, full = hostname(pod, config), fqdn(pod, config)
    for address in addresses:
        names = f"{full}\t{_short(pod)}" if full and not pod["spec"].get("hostNetwork") else short
        lines.append(f"{address}\t{names}")
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join([alias["ip"], *(alias.get("hostnames") or ())]) for alias in aliases]
    return "".join(f"{line}\n" for line in lines)
