"""Why a packet to the node went to a pod, in one sentence. Pure."""

from clew.base.addresses import with_port
from clew.dataplane.hostports.objects import FAMILY, OWN, TABLE, WHOLE
from clew.ir.links import HostPort


def explain(port: HostPort) -> str:
    where = OWN[port.family] if port.host_ip else WHOLE[port.family]
    at = with_port(port.host_ip, port.host_port) if port.host_ip else f"port {port.host_port} of this node"
    return (
        f"{at}/{port.protocol} is a hostPort of {port.origin}: it leads to {with_port(port.address, port.port)}"
        f" (map {where.name} of table {FAMILY} {TABLE})"
    )
