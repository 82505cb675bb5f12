"""What the API server is told at its start."""

from clew.base.value import Value


class ApiServerOptions(Value):
    """`service_cidrs` has one range a family, the primary first; `advertise` the endpoints of Service `kubernetes`."""

    service_cidrs: tuple[str, ...]
    node_port_range: tuple[int, int] = (30000, 32767)
    advertise: tuple[tuple[str, int], ...] = ()
    cluster_domain: str = "cluster.local"
    version: str = "v1.37.0"

    @property
    def ip_families(self) -> tuple[str, ...]:
        return tuple("IPv6" if ":" in cidr else "IPv4" for cidr in self.service_cidrs)


class ServerPki(Value):
    """Whose client certificates are believed, and the key that signs service account tokens (EC P-256, PEM)."""

    client_ca_pem: bytes
    service_account_key_pem: bytes
    issuer: str = "https://kubernetes.default.svc.cluster.local"
