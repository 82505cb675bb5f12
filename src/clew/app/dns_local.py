"""Addresses that this node takes questions on for as long as the DNS server runs: the node-local cache.

They stand on the loopback interface, and an nft table keeps questions to them away from connection tracking, and so
from the service's NAT: a question for the cluster's DNS address stays on the node. The table belongs to this process
(`flags owner`): when the process dies, however it dies, the kernel removes the table with it, and the next question
goes the service's way. Called by app.dns.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

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


@contextmanager
def local_addresses(addresses: Sequence[str]) -> Iterator[None]:
    """The node answers on these while the context is open. WorldError where the kernel does not let us."""
    if not addresses:
        yield
        return
    nft = KernelNft()
    with Netlink() as netlink:
        present = {each.address for each in netlink.addresses() if each.dev == _LOOPBACK}
        made = [Address(_prefixed(each), _LOOPBACK) for each in addresses if _prefixed(each) not in present]
        try:
            netlink.request([Add(each) for each in made])
            nft.run(table(addresses))
            if nft.listing("inet", TABLE) is None:
                raise WorldError(
                    f"the nft table {TABLE} is gone as soon as it is made: this libnftables drops its socket"
                )
            yield
        finally:
            nft.close()
            netlink.attempt([Delete(each) for each in made])
