"""Requests to rtnetlink messages: which type, which flags, which body. Pure."""

from collections.abc import Callable, Sequence

from clew.kernel.netlink import links, neighbours, routes, traffic, wire
from clew.kernel.netlink.requests import Add, Delete, DeleteGroup, Request, SetLink
from clew.kernel.netlink.values import Address, Fdb, Filter, Link, Neighbour, Qdisc, Redirect, Route, Rule, Thing

IndexOf = Callable[[str], int]
Message = tuple[int, int, bytes]  # type, flags beside REQUEST and ACK, body

NEW = wire.NLM_F_CREATE | wire.NLM_F_EXCL
OVER = wire.NLM_F_CREATE | wire.NLM_F_REPLACE


def messages_of(request: Request, index_of: IndexOf) -> list[Message]:
    """One message for most requests; `index_of` may raise KernelError for a link that is not there."""
    match request:
        case Add(thing=thing, replace=replace):
            kind, body = _addition(thing, index_of)
            more = links.encode_names(thing) if isinstance(thing, Link) else []
            return [(kind, OVER if replace else NEW, body), *_changes(more)]
        case Delete(thing=thing):
            kind, body = _deletion(thing, index_of)
            return [(kind, 0, body)]
        case DeleteGroup(group=group):
            return [(links.RTM_DELLINK, 0, links.header() + wire.u32(links.IFLA_GROUP, group))]
        case SetLink():
            return _changes(links.encode_change(request, index_of))


def _changes(bodies: Sequence[tuple[int, bytes]]) -> list[Message]:
    return [(kind, NEW if kind == links.RTM_NEWLINKPROP else 0, body) for kind, body in bodies]


def _addition(thing: Thing, index_of: IndexOf) -> tuple[int, bytes]:
    match thing:
        case Link():
            return links.RTM_NEWLINK, links.encode(thing, index_of)
        case Address():
            return neighbours.RTM_NEWADDR, neighbours.encode_address(thing, index_of)
        case Route():
            return routes.RTM_NEWROUTE, routes.encode(thing, index_of)
        case Neighbour():
            return neighbours.RTM_NEWNEIGH, neighbours.encode_neighbour(thing, index_of)
        case Fdb():
            return neighbours.RTM_NEWNEIGH, neighbours.encode_fdb(thing, index_of)
        case Rule():
            return routes.RTM_NEWRULE, routes.encode_rule(thing)
        case Qdisc():
            return traffic.RTM_NEWQDISC, traffic.encode_qdisc(thing, index_of)
        case Filter():
            return traffic.RTM_NEWTFILTER, traffic.encode_filter(thing, index_of)
        case Redirect():
            return traffic.RTM_NEWTFILTER, traffic.encode_redirect(thing, index_of)


def _deletion(thing: Thing, index_of: IndexOf) -> tuple[int, bytes]:
    match thing:
        case Link(name=name, index=index):
            return links.RTM_DELLINK, links.header(index_of(name) if name else index)
        case Address():
            return neighbours.RTM_DELADDR, neighbours.encode_address(thing, index_of)
        case Route():
            return routes.RTM_DELROUTE, routes.encode(thing, index_of, delete=True)
        case Neighbour():
            return neighbours.RTM_DELNEIGH, neighbours.encode_neighbour(thing, index_of)
        case Fdb():
            return neighbours.RTM_DELNEIGH, neighbours.encode_fdb(thing, index_of)
        case Rule():
            return routes.RTM_DELRULE, routes.encode_rule(thing)
        case Qdisc():
            return traffic.RTM_DELQDISC, traffic.encode_qdisc(thing, index_of)
        case Filter():
            return traffic.RTM_DELTFILTER, traffic.encode_filter(thing, index_of, delete=True)
        case Redirect():
            return traffic.RTM_DELTFILTER, traffic.encode_redirect(thing, index_of, delete=True)
