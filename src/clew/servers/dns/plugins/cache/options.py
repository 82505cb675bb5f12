"""The cache directive's arguments and properties."""

from clew.base.value import Value
from clew.servers.dns.arguments import choice, duration, number, some_arguments, unknown_property, zones
from clew.servers.dns.corefile import Directive
from clew.servers.dns.plugins.cache.store import Kept

_PROPERTIES = ("success", "denial", "prefetch", "serve_stale", "servfail", "disable", "keepttl")
_DENIAL_MOST = 1800
_SERVFAIL_MOST = 300.0  # RFC 2308 section 7.1


class Options(Value):
    zones: tuple[str, ...]
    success: Kept
    denial: Kept
    prefetch: int = 0  # hits within `prefetch_within` that make an answer worth fetching early; 0: off
    prefetch_within: float = 60.0
    prefetch_left: int = 10  # per cent of the lifetime that is left then
    stale: float = 0.0  # seconds that an expired answer may still be given; 0: never
    stale_verify: bool = False  # ask upstream first, and give the stale answer when that fails
    servfail: float = 5.0
    no_success: tuple[str, ...] = ()
    no_denial: tuple[str, ...] = ()
    keep_ttl: bool = False


def _kept(inner: Directive, most: int) -> Kept:
    capacity, *ttls = some_arguments(inner, 1, 3)
    kept = Kept(number(capacity), most)
    if ttls:
        kept.most = number(ttls[0], 1)
    kept.least = number(ttls[1]) if len(ttls) > 1 else min(kept.least, kept.most)
    return kept


def _prefetch(inner: Directive) -> dict[str, object]:
    amount, *rest = some_arguments(inner, 1, 3)
    found: dict[str, object] = {"prefetch": number(amount)}
    if rest:
        found["prefetch_within"] = duration(rest[0])
    for word in rest[1:]:
        text = word.text.removesuffix("%")
        if text == word.text or not text.isdecimal() or not 10 <= int(text) <= 90:
            raise word.error(f"{word.text!r} is no percentage", "write 10% to 90%")
        found["prefetch_left"] = int(text)
    return found


def _stale(inner: Directive) -> dict[str, object]:
    words = some_arguments(inner, 0, 2)
    found: dict[str, object] = {"stale": duration(words[0]) if words else 3600.0}
    for word in words[1:]:
        found["stale_verify"] = choice(word, "immediate", "verify") == "verify"
    return found


def _servfail(inner: Directive) -> dict[str, object]:
    (word,) = some_arguments(inner, 1, 1)
    seconds = duration(word)
    if seconds > _SERVFAIL_MOST:
        raise word.error("a failure kept for more than 5 minutes", "RFC 2308 forbids it")
    return {"servfail": seconds}


def _disable(inner: Directive, site_zones: tuple[str, ...]) -> dict[str, object]:
    what, *names = some_arguments(inner)
    field = {"success": "no_success", "denial": "no_denial"}[choice(what, "success", "denial")]
    return {field: zones(names, site_zones)}


def options(directive: Directive, site_zones: tuple[str, ...]) -> Options:
    """UserError with line and column for what is unknown or cannot be."""
    words = list(directive.arguments)
    limit = number(words.pop(0), 1) if words and words[0].text.isdecimal() else None
    success = Kept(most=limit or 3600)
    denial = Kept(most=limit or _DENIAL_MOST)
    for kept in (success, denial):
        kept.least = min(kept.least, kept.most)
    fields: dict[str, object] = {}
    for inner in directive.block:
        match inner.name.text:
            case "success":
                success = _kept(inner, success.most)
            case "denial":
                denial = _kept(inner, denial.most)
            case "prefetch":
                fields |= _prefetch(inner)
            case "serve_stale":
                fields |= _stale(inner)
            case "servfail":
                fields |= _servfail(inner)
            case "disable":
                fields |= _disable(inner, site_zones)
            case "keepttl":
                fields["keep_ttl"] = True
            case _:
                raise unknown_property(directive, inner, _PROPERTIES)
    return Options(zones(words, site_zones), success, denial, **fields)  # type: ignore[arg-type]  # checked above
