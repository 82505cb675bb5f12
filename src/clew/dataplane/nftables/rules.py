"""The table's rules. They depend on the node's settings and on which ways are in use, never on services.

Pure. What changes with services is in render. Called by dataplane/nftables/programme; the README draws the chains.
"""

from collections.abc import Iterable, Mapping

from clew.dataplane.nftables import layout
from clew.dataplane.nftables.layout import SET_MASK, WAY_MASK
from clew.dataplane.nftables.objects import (
    Chain,
    Change,
    Compare,
    Dispatch,
    Fetch,
    Field,
    Forget,
    Go,
    Hashed,
    Hook,
    IpWord,
    Key,
    Masked,
    Member,
    Put,
    Random,
    Remember,
    Rule,
    Table,
    Translate,
    Word,
)
from clew.ir.proxying import Settings

MARK, PRIORITY = "meta mark", "meta priority"
HANDLE_SET = Masked(PRIORITY, SET_MASK)
ALL_BITS = 0xFFFFFFFF
BEFORE_DNAT, AFTER_DNAT, EARLY, SRCNAT = -110, -90, -160, 100  # hook priorities; translation itself is at -100
DNAT = -100
TRANSPORTS = Compare(Field("meta l4proto"), ("tcp", "udp", "sctp"))
NEW = Compare(Field("ct state"), ("new",))
TO_THIS_NODE = Compare(Field("fib daddr type"), ("local",))
FROM_THIS_NODE = Compare(Field("fib saddr type"), ("local",))


def structure(settings: Settings, ways: Mapping[int, str], name: str = layout.TABLE) -> Table:
    """The table with its rules. `ways`: numbers in use and the chains they lead to (`way_chain`)."""
    ip = settings.ip
    chains = [*_ways(ip, ways), *_choice(settings, ways), *_translation(settings), *_filters(settings)]
    return Table(
        family=ip,
        name=name,
        comment=layout.COMMENT,
        sets=tuple(each.declare(ip) for each in layout.LAYOUT),
        chains=tuple(chains),
    )


def way_chain(backends: int, affinity: int) -> str:
    """The name of the chain for sets with so many backends, whose clients keep theirs for so many seconds (0: not)."""
    return f"sticky-{affinity}s-{backends}" if affinity else f"endpoints-{backends}"


def read_way_chain(name: str) -> tuple[int, int] | None:
    """Backends and seconds in a name that `way_chain` made."""
    kind, _, rest = name.partition("-")
    if kind == "endpoints" and rest.isdigit():
        return int(rest), 0
    seconds, _, backends = rest.partition("s-")
    if kind == "sticky" and seconds.isdigit() and backends.isdigit():
        return int(backends), int(seconds)
    return None


def _key(*names: str) -> Key:
    return Key(tuple(map(Field, names)))


class _Words:
    """The fields that are spelt differently in the two families, and the keys made of them."""

    def __init__(self, ip: IpWord) -> None:
        self.source, self.destination = f"{ip} saddr", f"{ip} daddr"
        self.where = _key(self.destination, "meta l4proto", "th dport")
        self.here = _key("meta l4proto", "th dport")
        self.anyhow = _key(self.destination, "meta l4proto")
        self.client = Key((HANDLE_SET, Hashed(self.source)))


def _ways(ip: IpWord, ways: Mapping[int, str]) -> Iterable[Chain]:
    """One chain per number of backends in use, and those that sticky ones share."""
    words = _Words(ip)
    drop_way = Rule((Change(PRIORITY, keep=SET_MASK),))
    read = sorted((parts, name) for name in ways.values() if (parts := read_way_chain(name)))
    for seconds in sorted({seconds for (_, seconds), _ in read if seconds}):
        remember = Remember("affinity", words.client, seconds, PRIORITY)
        yield Chain(
            f"remember-{seconds}s",
            (
                Rule((remember,)),
                Rule((TRANSPORTS, Translate(ip, _key(PRIORITY), "slots"))),
            ),
        )
        yield Chain(
            f"recall-{seconds}s",
            (
                Rule((Go("jump", f"remember-{seconds}s"),)),
                Rule((Forget("affinity", words.client, PRIORITY),), "the backend it kept has gone"),
            ),
        )
    for (backends, seconds), name in read:
        choice = Key((Field(PRIORITY), Random(backends)))
        if not seconds:
            yield Chain(name, (drop_way, Rule((TRANSPORTS, Translate(ip, choice, "endpoints")))))
            continue
        yield Chain(
            name,
            (
                Rule((Fetch(PRIORITY, words.client, "affinity"), Go("jump", f"recall-{seconds}s"))),
                drop_way,
                Rule((Fetch(PRIORITY, choice, "sticky-choices"), Go("goto", f"remember-{seconds}s"))),
            ),
        )


def _choice(settings: Settings, ways: Mapping[int, str]) -> Iterable[Chain]:
    """From an address to a handle, whether to masquerade, and on to the handle's way."""
    words = _Words(settings.ip)
    masquerade = Go("jump", "masquerade-later")
    pick = Go("goto", "pick")
    inside = _inside(settings)
    short_cut = [Rule((inside, pick), "short cut for pods, with their own address")] if inside else []
    own = Rule((FROM_THIS_NODE, Go("goto", "external")), "short cut for the node itself")
    dispatch = Dispatch(Masked(PRIORITY, WAY_MASK), tuple(sorted(ways.items())))
    yield Chain("pick", (Rule((dispatch,)),) if ways else ())
    yield Chain("masquerade-later", (Rule((Change(MARK, add=settings.masquerade_mark),)),))
    yield Chain("internal", (*_internal_masquerade(settings), Rule((pick,))))
    yield Chain("external", (Rule((masquerade,)), Rule((pick,))))
    for name, key, endpoints in (
        ("local-external", words.where, "local-endpoints"),
        ("local-node-port", words.here, "local-node-port-endpoints"),
    ):
        yield Chain(name, (*short_cut, own, Rule((Fetch(PRIORITY, key, endpoints), pick))))
    yield Chain(
        "node-ports",
        (
            Rule((Fetch(PRIORITY, words.here, "node-ports"), Go("goto", "external"))),
            Rule((Fetch(PRIORITY, words.here, "local-node-ports"), Go("goto", "local-node-port"))),
        ),
    )
    yield Chain(
        "services",
        (
            Rule((Fetch(PRIORITY, words.where, "service-ips"), Go("goto", "internal"))),
            Rule((Fetch(PRIORITY, words.where, "external-ips"), Go("goto", "external"))),
            Rule((Fetch(PRIORITY, words.where, "local-external-ips"), Go("goto", "local-external"))),
            Rule((TO_THIS_NODE, _node_port_addresses(settings), Go("goto", "node-ports"))),
        ),
    )


def _inside(settings: Settings, *, negated: bool = False) -> Compare | None:
    """What is true of packets from pods; None where nobody knows."""
    if settings.pod_interface:
        return Compare(Field("iifname"), (f'"{settings.pod_interface}"',), negated)
    if settings.pod_cidrs:
        return Compare(Field(f"{settings.ip} saddr"), settings.pod_cidrs, negated)
    return None


def _internal_masquerade(settings: Settings) -> tuple[Rule, ...]:
    masquerade = Go("jump", "masquerade-later")
    if settings.masquerade_all:
        return (Rule((masquerade,)),)
    beyond = _inside(settings, negated=True)
    return (Rule((beyond, masquerade), "from beyond the pods"),) if beyond else ()


def _node_port_addresses(settings: Settings) -> Compare:
    field = Field(f"{settings.ip} daddr")
    if settings.node_port_addresses:
        return Compare(field, settings.node_port_addresses)
    return Compare(field, ("::1" if settings.ip == "ip6" else "127.0.0.0/8",), negated=True)


def _translation(settings: Settings) -> Iterable[Chain]:
    to_services = (Rule((Go("jump", "services"),)),)
    words = _Words(settings.ip)
    itself = Member(_key(words.source, words.destination), "hairpin")
    yield Chain("nat-prerouting", to_services, Hook("nat", "prerouting", DNAT))
    yield Chain("nat-output", to_services, Hook("nat", "output", DNAT))
    yield Chain(
        "nat-postrouting",
        (
            Rule((itself, Go("jump", "masquerade-later")), "a backend reaches itself"),
            Rule((Compare(Masked(MARK, settings.masquerade_mark), ("0x00000000",)), Word("return"))),
            Rule((Change(MARK, keep=ALL_BITS ^ settings.masquerade_mark),)),
            Rule((Word("masquerade fully-random"),)),
        ),
        Hook("nat", "postrouting", SRCNAT),
    )


def _filters(settings: Settings) -> Iterable[Chain]:
    """Refusals, source ranges, and giving the priority field back."""
    words = _Words(settings.ip)
    restricted = (Rule((NEW, Member(words.where, "restricted"), Go("jump", "check-source"))),)
    give_back = Rule((NEW, Compare(Field("ct status"), ("dnat",)), Put(PRIORITY, 0)), "the register is free again")
    refuse = Rule((NEW, Go("jump", "refuse")))
    ports = (_node_port_addresses(settings), Go("jump", "refuse-node-ports"))
    yield Chain("refusal", (Rule((Word("reject with tcp reset"),)), Rule((Word("reject"),))))
    yield Chain(
        "refuse",
        (
            Rule((Member(words.where, "refused-ips"), Go("goto", "refusal"))),
            Rule((Member(words.where, "dropped-ips"), Word("drop"))),
            Rule((Member(_key(words.destination), "cluster-ips"), Go("goto", "refusal")), "a port that no service has"),
            Rule((Member(words.anyhow, "service-ranges"), Word("drop")), "an address that no service has"),
        ),
    )
    yield Chain(
        "refuse-node-ports",
        (
            Rule((Member(words.here, "refused-node-ports"), Go("goto", "refusal"))),
            Rule((Member(words.here, "dropped-node-ports"), Word("drop"))),
        ),
    )
    source = Key((*words.where.parts, Field(words.source)))
    yield Chain("check-source", (Rule((Member(source, "source-ranges"), Word("return"))), Rule((Word("drop"),))))
    yield Chain("filter-prerouting", restricted, Hook("filter", "prerouting", BEFORE_DNAT))
    yield Chain("filter-output-before", restricted, Hook("filter", "output", BEFORE_DNAT))
    yield Chain("filter-input", (refuse, Rule((NEW, *ports))), Hook("filter", "input", EARLY))
    yield Chain("filter-forward", (give_back, refuse), Hook("filter", "forward", EARLY))
    own_ports = Rule((NEW, TO_THIS_NODE, *ports))
    yield Chain("filter-output", (give_back, refuse, own_ports), Hook("filter", "output", AFTER_DNAT))
