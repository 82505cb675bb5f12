"""Which endpoints of a service port answer on this node: readiness, hints, traffic policies. Pure.

Not in here: addresses of the service itself (compile/services). The choice follows kube-proxy's, KEP-2433 (hints),
KEP-3015 (same node), KEP-1669 (terminating endpoints as the last resort), KEP-2086 (internal traffic policy).
"""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Literal

from clew.base.value import Value
from clew.facts.endpointslice import Endpoint, EndpointSlice
from clew.ir.balancing import Backend

PortKey = tuple[str, str]  # name, protocol
Address = tuple[str, int]
Candidates = dict[Address, Endpoint]
Topology = Literal["", "zone", "node"]


class Chosen(Value):
    cluster: tuple[Backend, ...]
    local: tuple[Backend, ...]
    others: tuple[Backend, ...]
    any_backend: bool


NOBODY = Chosen((), (), (), False)


def gather(slices: Iterable[EndpointSlice], address_type: str, wanted: Container[PortKey]) -> dict[PortKey, Candidates]:
    """Endpoints by port and address, of the ports that are wanted: a slice may name 20,000 others.

    What two slices name counts once: as ready, then as on a node, if either is.
    """
    found: dict[PortKey, Candidates] = {}
    for piece in slices:
        if piece.address_type != address_type:
            continue
        for port in piece.ports:
            if not port.port or (port.name, port.protocol) not in wanted:
                continue
            candidates = found.setdefault((port.name, port.protocol), {})
            for endpoint in piece.endpoints:
                if not endpoint.addresses:
                    continue
                address = endpoint.addresses[0], port.port
                known = candidates.get(address)
                if known is None or (endpoint.ready, endpoint.node != "") > (known.ready, known.node != ""):
                    candidates[address] = endpoint
    return found


def choose(candidates: Candidates, node: str, zone: str, *, cluster: bool, local: bool) -> Chosen:
    """The backends for both policies; `cluster` and `local` say which of them the service uses."""
    if not candidates:
        return NOBODY
    ready = {address: endpoint for address, endpoint in candidates.items() if endpoint.ready}
    last_resort = {
        address: endpoint
        for address, endpoint in candidates.items()
        if not endpoint.ready and endpoint.serving and endpoint.terminating
    }
    everywhere = _near(ready, node, zone) or last_resort if cluster else {}
    here = _on(ready, node) or _on(last_resort, node) if local else {}
    return Chosen(
        cluster=_backends(everywhere, node),
        local=_backends(here, node),
        others=_backends(_rest(candidates, everywhere, here), node),
        any_backend=bool(everywhere) or (local and bool(ready or last_resort)),
    )


def _rest(candidates: Candidates, *chosen: Candidates) -> Candidates:
    """Those that serve and were not chosen."""
    if any(len(each) == len(candidates) for each in chosen):
        return {}
    return {
        address: endpoint
        for address, endpoint in candidates.items()
        if (endpoint.ready or endpoint.serving) and not any(address in each for each in chosen)
    }


def _on(candidates: Candidates, node: str) -> Candidates:
    return {address: endpoint for address, endpoint in candidates.items() if endpoint.node == node}


def _near(ready: Candidates, node: str, zone: str) -> Candidates:
    """The ready endpoints that hints ask this node to use; all of them where the hints do not cover everyone."""
    topology = _topology(tuple(ready.values()), node, zone)
    if not topology:
        return ready
    wanted: Callable[[Endpoint], bool] = {
        "node": lambda endpoint: node in endpoint.hint_nodes,
        "zone": lambda endpoint: zone in endpoint.hint_zones,
    }[topology]
    return {address: endpoint for address, endpoint in ready.items() if wanted(endpoint)}


def _topology(ready: Sequence[Endpoint], node: str, zone: str) -> Topology:
    if all(endpoint.hint_nodes for endpoint in ready) and any(node in endpoint.hint_nodes for endpoint in ready):
        return "node"
    if zone and all(endpoint.hint_zones for endpoint in ready) and any(zone in each.hint_zones for each in ready):
        return "zone"
    return ""


def _backends(chosen: Candidates, node: str) -> tuple[Backend, ...]:
    if not chosen:
        return ()
    return tuple(
        Backend(address, port, "unknown" if not endpoint.node else "here" if endpoint.node == node else "elsewhere")
        for (address, port), endpoint in sorted(chosen.items(), key=_order)
    )


def _order(item: tuple[Address, Endpoint]) -> Address:
    return item[0]
