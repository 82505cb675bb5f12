"""What a kubelet is told about its node and its cluster."""

from clew.base.value import Value


class KubeletConfig(Value):
    """Addresses are the node's own, the primary family first; `nameservers` is its own resolver."""

    node: str
    addresses: tuple[str, ...]
    cluster_dns: tuple[str, ...]
    cluster_domain: str = "cluster.local"
    nameservers: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[tuple[str, str, str], ...] = ()  # key, value, effect; registered with, as the labels are
    service_host: str = ""  # KUBERNETES_SERVICE_HOST while the Service `kubernetes` is not known yet
    service_port: int = 443
    max_pods: int = 110
    version: str = "v1.37.0"
    at_once: int = 4  # sandboxes and containers made at the same time
