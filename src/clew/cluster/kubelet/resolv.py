"""A pod's resolv.conf and hosts file, as the kubelet writes them. Pure."""

from clew.api.objects import Object
from clew.cluster.kubelet.config import KubeletConfig

_MOST_SEARCHES = 32


def resolv_conf(pod: Object, config: KubeletConfig) -> str:
    """By dnsPolicy, completed by dnsConfig (KEP-2595 limits the searches to 32)."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str | None] = {}
    if policy in {"ClusterFirst", "ClusterFirstWithHostNet"}:
        domain, namespace = config.cluster_domain, pod["metadata"]["namespace"]
        servers = list(config.cluster_dns)
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = {"ndots": "5"}
    elif policy == "Default":
        servers = list(config.nameservers)
    given = spec.get("dnsConfig") or {}
    servers += [each for each in given.get("nameservers") or [] if each not in servers]
    searches += [each for each in given.get("searches") or [] if each not in searches]
    options |= {each["name"]: each.get("value") for each in given.get("options") or []}
    lines = [f"search {' '.join(searches[:_MOST_SEARCHES])}"] if searches else []
    lines += [f"nameserver {server}" for server in servers[:3]]
    if options:
        lines.append("options " + " ".join(f"{key}:{value}" if value else key for key, value in options.items()))
    return "\n".join(lines) + "\n"


def hostname(pod: Object, config: KubeletConfig) -> str:
    spec = pod["spec"]
    name: str = spec.get("hostname") or pod["metadata"]["name"]
    if spec.get("setHostnameAsFQDN") and spec.get("subdomain"):
        return f"{name}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.{config.cluster_domain}"
    return name[:63].rstrip("-.")


def hosts(pod: Object, config: KubeletConfig, ips: tuple[str, ...]) -> str:
    """/etc/hosts of a pod that has a network of its own."""
    lines = [
        "# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet", "ff02::1\tip6-allnodes", "ff02::2\tip6-allrouters",
    ]  # fmt: skip
    name, spec = hostname(pod, config), pod["spec"]
    if spec.get("subdomain"):
        short = spec.get("hostname") or pod["metadata"]["name"]
        full = f"{short}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.{config.cluster_domain}"
        name = f"{full}\t{short}"
    lines += [f"{ip}\t{name}" for ip in ips]
    aliases = spec.get("hostAliases") or []
    if aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += [f"{each['ip']}\t" + "\t".join(each.get("hostnames") or []) for each in aliases]
    return "\n".join(lines) + "\n"
