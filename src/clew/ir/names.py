"""Names that the cluster's DNS answers to, in neutral words; each set carries the object that gives rise to it."""

from typing import Literal

from clew.base.value import Value

RecordType = Literal["A", "AAAA", "CNAME", "PTR", "SRV", "TXT"]


class Record(Value):
    """One record, names without the final dot; data is an address, name, text or `PRIORITY WEIGHT PORT NAME`."""

    name: str
    type: RecordType
    data: str


class NameSet(Value):
    """All that one object gives rise to; it replaces what the same origin gave rise to before."""

    origin: str  # "Service default/web"
    records: tuple[Record, ...]


class KnownName(Value):
    """What whoever does not know everything may say of a name by itself.

    `more`: what else stands there somebody else knows; `below`: so it is with the names below it. With neither, the
    name has these addresses (at most one a family) and nothing else in the way of addresses.
    """

    name: str
    origin: str
    addresses: tuple[str, ...] = ()
    more: bool = False
    below: bool = False


class KnownZone(Value):
    """A zone of which all names are known: what is not there does not exist."""

    domain: str
    ttl: int  # seconds, of addresses and of negative answers
    origin: str
    name_server: str = "ns.dns"  # below the domain, as is the next
    mailbox: str = "hostmaster"


SOA_TIMES = (7200, 1800, 86400)  # refresh, retry and expire in seconds, CoreDNS's


class NameServer(Value):
    """Where the questions are sent."""

    address: str
    port: int
    origin: str
