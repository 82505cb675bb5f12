"""What a kubelet is told about its node and its cluster."""

from clew.base.value import Value


class KubeletConfig(Value):
    node: str
    addresses: tuple[str, ...]  # the node's own, the primary family first
    cluster_dns: tuple[str, ...]
    cluster_domain: str = "cluster.local"
    nameservers: tuple[str, ...] = ()  # the node's own resolver
    labels: tuple[tuple[str, str], ...] = ()
    service_host: str = ""  # KUBERNETES_SERVICE_HOST: the cluster address of Service `kubernetes`
    service_port: int = 443
    max_pods: int = 110
    version: str = "v1.37.0"
