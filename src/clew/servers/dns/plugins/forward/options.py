"""The forward directive's arguments and properties."""

import ssl
from pathlib import Path

from clew.base.errors import UserError
from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.arguments import (
    choice,
    duration,
    no_arguments,
    number,
    one_argument,
    read,
    some_arguments,
    unknown_property,
    zones,
)
from clew.servers.dns.corefile import Directive, Word
from clew.servers.dns.plugins.forward.upstream import Upstream

_MOST_UPSTREAMS = 15  # as CoreDNS
_PROPERTIES = (
    "except", "force_tcp", "prefer_udp", "expire", "max_fails", "tls", "tls_servername", "policy", "health_check",
    "max_concurrent", "next", "failfast_all_unhealthy_upstreams",
)  # fmt: skip


class Options(Value):
    zones: tuple[str, ...]
    upstreams: tuple[Upstream, ...]
    excepted: tuple[str, ...] = ()
    force_tcp: bool = False
    prefer_udp: bool = False
    expire: float = 10.0  # seconds that an idle connection is kept
    max_fails: int = 2  # failures in a row after which an upstream counts as down; 0: never
    tls: tuple[str, ...] = ()  # nothing; CA; certificate and key; certificate, key and CA
    server_name: str = ""
    policy: str = "random"
    health_interval: float = 0.5
    health_recursion: bool = True
    health_domain: str = "."
    max_concurrent: int = 0  # 0: no limit
    next_rcodes: frozenset[int] = frozenset()  # answers that the rest of the chain may better
    fail_fast: bool = False


def _upstreams(word: Word) -> list[Upstream]:
    if word.text.startswith("/"):
        try:
            lines = Path(word.text).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise word.error(f"cannot read {word.text}: {error.strerror}") from None
        words = [line.split() for line in lines]
        return [Upstream.parse(each[1]) for each in words if len(each) > 1 and each[0] == "nameserver"]
    return [read(word, Upstream.parse, "write an address, ADDRESS:PORT, tls://ADDRESS, or a resolv.conf's path")]


def _health(inner: Directive) -> dict[str, object]:
    interval, *rest = some_arguments(inner)
    found: dict[str, object] = {"health_interval": duration(interval)}
    while rest:
        word = rest.pop(0)
        if choice(word, "no_rec", "domain") == "no_rec":
            found["health_recursion"] = False
        elif not rest:
            raise word.error("domain needs a name")
        else:
            name = rest.pop(0)
            read(name, wire.name_to_wire)
            found["health_domain"] = name.text
    return found


def _rcode(word: Word) -> int:
    names = {name: code for code, name in wire.RCODE_NAMES.items()}
    return names[choice(word, *names)]


def _property(inner: Directive) -> dict[str, object] | None:  # noqa: PLR0911 - one case a property
    match inner.name.text:
        case "except":
            return {"excepted": zones(some_arguments(inner))}
        case "force_tcp" | "prefer_udp" as name:
            no_arguments(inner)
            return {name: True}
        case "expire":
            return {"expire": duration(one_argument(inner))}
        case "max_fails":
            return {"max_fails": number(one_argument(inner))}
        case "tls":
            return {"tls": tuple(word.text for word in some_arguments(inner, 0, 3))}
        case "tls_servername":
            return {"server_name": one_argument(inner).text}
        case "policy":
            return {"policy": choice(one_argument(inner), "random", "round_robin", "sequential")}
        case "health_check":
            return _health(inner)
        case "max_concurrent":
            return {"max_concurrent": number(one_argument(inner))}
        case "next":
            return {"next_rcodes": frozenset(_rcode(word) for word in some_arguments(inner))}
        case "failfast_all_unhealthy_upstreams":
            no_arguments(inner)
            return {"fail_fast": True}
    return None


def options(directive: Directive) -> Options:
    """UserError with line and column for what is unknown or cannot be."""
    if len(directive.arguments) < 2:
        raise directive.name.error("forward takes a zone and at least one upstream", "e.g. forward . /etc/resolv.conf")
    zone, *targets = directive.arguments
    upstreams = tuple(each for word in targets for each in _upstreams(word))
    if not upstreams:
        raise zone.error(f"forward found no nameserver in {targets[0].text}", "name one there")
    if len(upstreams) > _MOST_UPSTREAMS:
        raise targets[0].error(f"{len(upstreams)} upstreams", f"at most {_MOST_UPSTREAMS} are asked")
    fields: dict[str, object] = {}
    for inner in directive.block:
        found = _property(inner)
        if found is None:
            raise unknown_property(directive, inner, _PROPERTIES)
        fields |= found
    return Options(zones([zone]), upstreams, **fields)  # type: ignore[arg-type]  # each field checked above


def tls_context(directive: Directive, files: tuple[str, ...]) -> ssl.SSLContext:
    """Whom to trust and who we are, from `tls [CA | CERT KEY | CERT KEY CA]`."""
    authority = files[0] if len(files) == 1 else files[2] if len(files) == 3 else None
    try:
        context = ssl.create_default_context(cafile=authority)
        if len(files) > 1:
            context.load_cert_chain(files[0], files[1])
    except (OSError, ssl.SSLError) as error:
        raise _refused(directive, error) from None
    return context


def _refused(directive: Directive, error: OSError) -> UserError:
    return directive.name.error(f"tls: {error.strerror or error}", "it takes CERT KEY CA, CERT KEY, CA, or nothing")
