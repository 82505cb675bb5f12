"""Addresses that this node takes questions on for as long as the DNS server runs: the node-local cache.

They stand on the loopback interface, and an nft table keeps questions to them away from connection tracking, and so
from the service's NAT: a question for the cluster's DNS address stays on the node. The table belongs to this process
(`flags owner`): when the process dies, however it dies, the kernel removes the table with it, and the next question
goes the service's way. Called by app.dns.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Self

from clew.base.errors import UserError, WorldError
from clew.kernel.netlink import Add, Address, Delete, Netlink
from clew.kernel.nft import KernelNft

TABLE = "clew-dns-local"
_LOOPBACK = "lo"


def table(addresses: Sequence[str]) -> str:
    """The nft script: questions to these addresses, and answers from them, are not tracked."""
    lines = {"prerouting": [], "output": []}  # type: dict[str, list[str]]
    for word, version in (("ip", 4), ("ip6", 6)):
        found = ", ".join(each for each in addresses if ip_address(each).version == version)
        if found:
            asked = f"{word} daddr {{ {found} }} meta l4proto {{ tcp, udp }} th dport 53 notrack"
            lines["prerouting"].append(asked)
            lines["output"] += [asked, f"{word} saddr {{ {found} }} meta l4proto {{ tcp, udp }} th sport 53 notrack"]
    chains = "\n".join(
        f"chain {hook} {{ type filter hook {hook} priority raw; policy accept; {'; '.join(rules)}; }}"
        for hook, rules in lines.items()
    )
    return f"table inet {TABLE} {{\nflags owner\n{chains}\n}}\n"


def _prefixed(address: str) -> str:
    return f"{address}/{ip_address(address).max_prefixlen}"


def parsed(text: str) -> tuple[str, ...]:
    """`169.254.20.10,10.96.0.10`; UserError for what is no address."""
    found = tuple(each.strip() for each in text.split(",") if each.strip())
    for each in found:
        try:
            ip_address(each)
        except ValueError:
            raise UserError(f"--localip: {each!r} is no address", "e.g. 169.254.20.10,10.96.0.10") from None
    return found


class LocalAddresses:
    """`with` puts the addresses on the node; `take` brings questions here, `release` lets them go."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._nft: KernelNft | None = None

    def __enter__(self) -> Self:
        self._change(Add)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._change(Delete)

    def _change(self, request: type[Add] | type[Delete]) -> None:
        """What stands already was left by a process that was killed."""
        if not self._addresses:
            return
        with Netlink() as netlink:
            present = {each.address for each in netlink.addresses() if each.dev == _LOOPBACK}
            wanted = [Address(_prefixed(each), _LOOPBACK) for each in self._addresses]
            netlink.request([request(each) for each in wanted if (each.address in present) == (request is Delete)])

    def take(self) -> None:
        """Once the sockets are there. KernelError where the kernel refuses, WorldError where it does not last."""
        if self._nft is not None or not self._addresses:
            return
        self._nft = KernelNft()
        self._nft.run(table(self._addresses))
        if self._nft.listing("inet", TABLE) is None:
            raise WorldError(f"the nft table {TABLE} is gone as soon as it is made: this libnftables keeps no socket")

    def release(self) -> None:
        """Before the sockets go."""
        if self._nft is not None:
            self._nft.close()
            self._nft = None
