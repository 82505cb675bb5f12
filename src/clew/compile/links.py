"""Attachments and the node's ranges to the switch and its ports. Pure, one attachment at a time."""

from ipaddress import ip_interface

from clew.base.addresses import family_of
from clew.compile.ipam import Pool
from clew.facts.attachment import ANY, Attachment
from clew.facts.node import Node
from clew.ir.links import HostPort, PodPort, Switch


def switch(node: Node, pools: tuple[Pool, ...], mtu: int) -> Switch:
    """The switch of a node with these ranges; `mtu` is what the way to the other nodes leaves to a pod."""
    return Switch(tuple(pool.with_length(pool.gateway) for pool in pools), mtu, node.origin)


def port(attachment: Attachment) -> PodPort:
    """The port of one attachment. The gateway is the first address of the range that the pod's own one is from."""
    return PodPort(
        container=attachment.container,
        ifname=attachment.ifname,
        addresses=attachment.addresses,
        gateways=tuple(gateway_of(address) for address in attachment.addresses),
        mtu=attachment.mtu,
        origin=attachment.origin,
        mac=attachment.mac,
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


def gateway_of(address: str) -> str:
    """`10.244.1.5/24` -> `10.244.1.1`."""
    return str(Pool(str(ip_interface(address).network)).gateway)
