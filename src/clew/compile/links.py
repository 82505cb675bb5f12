"""Attachments and the node's ranges to the switch and its ports. Pure, one attachment at a time."""

from collections.abc import Iterable
from ipaddress import ip_interface

from clew.base.addresses import family_of
from clew.compile.ipam import Pool
from clew.facts.attachment import ANY, Attachment
from clew.facts.node import Node
from clew.ir.links import HostPort, PodPort, PodRates, Rate, Switch

# of routed pods: link-local, the same on every node, as Calico's and the VPC CNI's (RFC 3927, RFC 4291)
GATEWAYS = {4: "169.254.1.1", 6: "fe80::ecee:eeff:feee:eeee"}


def switch(node: Node, pools: tuple[Pool, ...], mtu: int) -> Switch:
    """The switch of a node with these ranges; `mtu` is what the way to the other nodes leaves to a pod."""
    return Switch(tuple(pool.with_length(pool.gateway) for pool in pools), mtu, node.origin)


def shared(pools: Iterable[Pool]) -> tuple[str, ...]:
    """The ranges that hold more than one pod's address: a single one has its pod's own route."""
    return tuple(pool.cidr for pool in pools if pool.network.num_addresses > 1)


def plugged_into(attachments: Iterable[Attachment]) -> tuple[Pool, ...]:
    """The ranges whose gateways pods on the switch know."""
    networks = {ip_interface(address).network for each in attachments for address in each.addresses}
    return tuple(Pool(str(found)) for found in sorted(networks, key=str))


def port(attachment: Attachment) -> PodPort:
    """The port of one attachment.

    On the switch the gateway is the first address of the range that the pod's own one is from. A routed pod has
    its addresses alone and asks an address that every node's end answers for.
    """
    routed = attachment.linking == "routed"
    addresses = tuple(map(_alone, attachment.addresses)) if routed else attachment.addresses
    return PodPort(
        container=attachment.container,
        ifname=attachment.ifname,
        addresses=addresses,
        gateways=tuple(GATEWAYS[family_of(each)] if routed else gateway_of(each) for each in attachment.addresses),
        mtu=attachment.mtu,
        origin=attachment.origin,
        mac=attachment.mac,
        routed=routed,
    )


def host_ports(attachment: Attachment) -> tuple[HostPort, ...]:
    """Each mapping in each family that both the pod and the mapping's `host_ip` have."""
    found = []
    for mapping in attachment.ports:
        for address in attachment.addresses:
            family = family_of(address)
            if mapping.host_ip and family_of(mapping.host_ip) != family:
                continue
            host_ip = "" if mapping.host_ip in ANY else mapping.host_ip
            bare = address.partition("/")[0]
            port = mapping.container_port
            found.append(HostPort(mapping.protocol, family, host_ip, mapping.host_port, bare, port, attachment.origin))
    return tuple(found)


def rates(attachment: Attachment) -> PodRates | None:
    """None where nothing is limited."""
    asked = attachment.bandwidth
    to_pod = Rate(asked.ingress_rate, asked.ingress_burst) if asked.ingress_rate else None
    from_pod = Rate(asked.egress_rate, asked.egress_burst) if asked.egress_rate else None
    if to_pod is None and from_pod is None:
        return None
    return PodRates(to_pod, from_pod, attachment.mtu, attachment.origin)


def _alone(address: str) -> str:
    return f"{address.partition('/')[0]}/{128 if ':' in address else 32}"


def gateway_of(address: str) -> str:
    """`10.244.1.5/24` -> `10.244.1.1`."""
    return str(Pool(str(ip_interface(address).network)).gateway)
