"""The kubernetes directive's arguments and properties."""

from typing import cast

from clew.base.value import Value
from clew.servers.dns.arguments import duration, no_arguments, number, one_argument, unknown_property, zones
from clew.servers.dns.corefile import Directive, Word
from clew.servers.dns.plugins.kubernetes.zones import PodMode

_SUFFIXES = ("in-addr.arpa", "ip6.arpa")
_PROPERTIES = (
    "endpoint", "tls", "kubeconfig", "apiserver_qps", "apiserver_burst", "apiserver_max_inflight", "namespaces",
    "labels", "namespace_labels", "pods", "endpoint_pod_names", "ttl", "noendpoints", "fallthrough", "ignore",
    "startup_timeout",
)  # fmt: skip


class Watching(Value):
    """What is watched and how the API server is reached; two plugins that want the same share it."""

    endpoint: str = ""
    tls: tuple[str, ...] = ()  # certificate, key, authority
    kubeconfig: str = ""
    kube_context: str = ""
    labels: str = ""
    namespace_labels: str = ""
    namespaces: tuple[str, ...] = ()
    endpoints: bool = True
    pods: bool = False
    pod_names: bool = False
    ignore_empty: bool = False


class Options(Value):
    domains: tuple[str, ...]
    reverse: tuple[str, ...]
    watching: Watching = Watching()
    pods: PodMode = "disabled"
    ttl: int = 5  # seconds
    fallthrough: tuple[str, ...] | None = None  # None: never; the root for every name
    startup_timeout: float = 5.0


def _is_reverse(zone: str) -> bool:
    return any(zone == suffix or zone.endswith(f".{suffix}") for suffix in _SUFFIXES)


def _words(inner: Directive) -> tuple[str, ...]:
    if not inner.arguments:
        raise inner.name.error(f"{inner.name.text!r} needs an argument")
    return tuple(word.text for word in inner.arguments)


def _pods(word: Word) -> PodMode:
    if word.text not in {"disabled", "insecure", "verified"}:
        raise word.error(f"no pods mode {word.text!r}", "disabled, insecure or verified")
    return cast("PodMode", word.text)


def _ttl(word: Word) -> int:
    if number(word) > 3600:
        raise word.error("a ttl above 3600", "write 0 to 3600")
    return number(word)


def _watching(inner: Directive) -> dict[str, object] | None:
    """The fields of Watching that a property sets; None for another property."""
    match inner.name.text:
        case "endpoint":
            return {"endpoint": one_argument(inner).text}
        case "tls":
            return {"tls": _words(inner)}
        case "kubeconfig":
            file, *context = _words(inner)
            return {"kubeconfig": file, "kube_context": "".join(context[:1])}
        case "namespaces":
            return {"namespaces": _words(inner)}
        case "labels":
            return {"labels": ",".join(_words(inner))}
        case "namespace_labels":
            return {"namespace_labels": ",".join(_words(inner))}
        case "noendpoints":
            no_arguments(inner)
            return {"endpoints": False}
        case "endpoint_pod_names":
            no_arguments(inner)
            return {"pod_names": True}
        case "ignore":
            word = one_argument(inner)
            if word.text != "empty_service":
                raise word.error(f"cannot ignore {word.text!r}", "empty_service is what can be ignored")
            return {"ignore_empty": True}
    return None


def read(directive: Directive, site_zones: tuple[str, ...]) -> Options:
    """UserError with line and column for what is unknown or contradicts itself."""
    own = zones(directive.arguments, site_zones)
    watching: dict[str, object] = {}
    pods: PodMode = "disabled"
    ttl, timeout = 5, 5.0
    fall: tuple[str, ...] | None = None
    for inner in directive.block:
        fields = _watching(inner)
        match inner.name.text:
            case _ if fields is not None:
                watching |= fields
            case "pods":
                pods = _pods(one_argument(inner))
            case "ttl":
                ttl = _ttl(one_argument(inner))
            case "fallthrough":
                fall = zones(inner.arguments, ("",))
            case "startup_timeout":
                timeout = duration(one_argument(inner))
            case "apiserver_qps" | "apiserver_burst" | "apiserver_max_inflight":
                number(one_argument(inner))  # three watches and no more requests: there is nothing to hold back
            case _:
                raise unknown_property(directive, inner, _PROPERTIES)
    if "namespaces" in watching and "namespace_labels" in watching:
        raise directive.name.error("namespaces and namespace_labels exclude each other", "keep one of the two")
    return Options(
        tuple(zone for zone in own if not _is_reverse(zone)),
        tuple(zone for zone in own if _is_reverse(zone)),
        Watching(**watching, pods=pods == "verified"),  # type: ignore[arg-type]  # each field checked above
        pods, ttl, fall, timeout,
    )  # fmt: skip
