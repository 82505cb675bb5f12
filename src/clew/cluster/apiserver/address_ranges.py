"""The networks that Services' cluster addresses come from: the server's own, and those of ServiceCIDRs (KEP-1880).

Called by the pools of Services and by the strategy of ServiceCIDR. On one loop; nothing awaits.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_LARGEST = 1 << 20  # addresses of a network that are handed out; an IPv6 range has more than anybody needs


class Range:
    """Numbers handed out at random, first above a low part that is left to those who ask for one (KEP-3070)."""

    def __init__(self, count: int, low: int) -> None:
        self.count = count
        self.low = low

    def candidates(self) -> Iterable[int]:
        """Every index once, in the order in which to try them."""
        span = self.count - self.low
        start = secrets.randbelow(span) if span else 0
        yield from (self.low + (start + step) % span for step in range(span))
        yield from range(self.low)


class AddressRanges:
    """`own` are the server's; what a ServiceCIDR adds is asked after them, in the order of names."""

    def __init__(self, own: Sequence[str]) -> None:
        self._own = tuple(ip_network(each) for each in own)
        self._added: dict[str, tuple[Network, ...]] = {}

    def put(self, name: str, cidrs: Iterable[str]) -> None:
        """A ServiceCIDR as it is now; one that is on its way out has no cidrs to give."""
        self._added[name] = tuple(ip_network(each) for each in cidrs)

    def drop(self, name: str) -> None:
        self._added.pop(name, None)

    def of(self, family: str) -> list[Network]:
        """The networks of `IPv4` or `IPv6`, each once, the server's own first."""
        added = (network for _name, networks in sorted(self._added.items()) for network in networks)
        every = dict.fromkeys((*self._own, *added))
        return [network for network in every if f"IPv{network.version}" == family]

    def said(self, family: str) -> str:
        """For messages: `10.96.0.0/16`, several apart by commas."""
        return ", ".join(map(str, self.of(family)))

    def candidates(self, family: str) -> Iterator[str]:
        """Every address once, in the order in which to try them."""
        for network in self.of(family):
            first = int(network.network_address) + 1
            yield from (str(ip_address(first + index)) for index in _indexes(network))

    def hold(self, address: Address) -> bool:
        """Whether a Service may have this address."""
        return any(_usable(network, address) for network in self.of(f"IPv{address.version}"))

    def only_in(self, name: str, cidrs: Sequence[str], address: Address) -> bool:
        """Whether a ServiceCIDR that is to go is the last that holds an address."""
        kept = [network for other, networks in self._added.items() if other != name for network in networks]
        mine = any(_usable(ip_network(each), address) for each in cidrs)
        return mine and not any(_usable(network, address) for network in (*self._own, *kept))


def _usable(network: Network, address: Address) -> bool:
    if address.version != network.version or address not in network or address == network.network_address:
        return False
    return not (address.version == 4 and address == network.broadcast_address)


def _indexes(network: Network) -> Iterable[int]:
    size = network.num_addresses
    usable = size - 2 if network.version == 4 else size - 1
    return Range(min(usable, _LARGEST), min(max(16, size // 16), 256) if size > 64 else 0).candidates()
