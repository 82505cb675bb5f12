"""URLs as Go's net/url.ParseRequestURI reads them: absolute, or an absolute path."""

from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from clew.cluster.admission.cel.functions.function import Function, holds, member

_URL, _TEXT = "kubernetes.URL", "string"


def _url(text: str) -> SplitResult:
    refused = f'parse "{text}": invalid URI for request'
    if any(letter <= " " or letter == "\x7f" for letter in text):
        raise ValueError(refused)
    parts = urlsplit(text)
    if not (parts.scheme or text.startswith("/")) or (parts.scheme and not (parts.netloc or parts.path)):
        raise ValueError(refused)
    _ = parts.port  # ValueError where it is no number
    return parts


def _hostname(url: str) -> str:
    """As it is written: Python's own lowers its letters."""
    host = _url(url).netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(url: str) -> str:
    port = _url(url).port
    return "" if port is None else str(port)


def _path(url: str) -> str:
    return quote(_url(url).path, safe="/%:@!$&'()*+,;=~-._")


URLS = (
    Function("url", (_TEXT,), _URL, lambda text: _url(text).geturl()),
    Function("isURL", (_TEXT,), "bool", holds(_url)),
    member("getScheme", (_URL,), _TEXT, lambda url: _url(url).scheme),
    member("getHost", (_URL,), _TEXT, lambda url: _url(url).netloc.rpartition("@")[2]),
    member("getHostname", (_URL,), _TEXT, _hostname),
    member("getPort", (_URL,), _TEXT, _port),
    member("getEscapedPath", (_URL,), _TEXT, _path),
    member(
        "getQuery", (_URL,), "map(string, list(string))", lambda url: parse_qs(_url(url).query, keep_blank_values=True)
    ),
)
