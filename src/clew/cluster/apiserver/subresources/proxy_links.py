"""Addresses in what a program behind …/proxy answers, made to lead back through the proxy. Pure; called by proxy.

A page that says `/next` means its own server's root, which a browser would look for at the API server's. As
kube-apiserver does: absolute paths of the program's own host get the proxy's path in front, in the header Location and
in the attributes of HTML that hold addresses; relative ones, other hosts', and those that have it already stay.
"""

import html
import re
from urllib.parse import urlsplit, urlunsplit

# HTML's attributes of which the value is an address
_ADDRESSES = (
    "action|background|cite|classid|codebase|data|formaction|href|icon|longdesc|manifest|poster|profile|src|usemap"
)
_MARK = re.compile(r"<!--|<(?P<name>[a-zA-Z][^\s/<>]*)[^<>]*>")
_VALUE = r"(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\s\"'>]+))"
_ATTRIBUTE = re.compile(rf"(?P<before>\s(?:{_ADDRESSES})\s*=\s*){_VALUE}", re.IGNORECASE)
_RAW_ENDS = {  # of what is no markup, by what begins it
    "<!--": re.compile("-->"),
    "script": re.compile("</script", re.IGNORECASE),
    "style": re.compile("</style", re.IGNORECASE),
}


def led_back(address: str, prefix: str, hosts: frozenset[str]) -> str:
    """`address` with `prefix` in front of its path; `hosts` are names of the program and of who was asked."""
    try:
        _, host, path, query, fragment = urlsplit(address)
    except ValueError:
        return address
    if (host and host not in hosts) or not path.startswith("/") or path.startswith(prefix):
        return address
    return urlunsplit(("", "", prefix + path, query, fragment))


def page_led_back(page: str, prefix: str, hosts: frozenset[str]) -> str:
    """The same HTML with addresses that lead back. One pass, whatever the page: it is a stranger's."""
    parts, at = [], 0
    while found := _MARK.search(page, at):
        parts += [page[at : found.start()], _ATTRIBUTE.sub(lambda each: _attribute(each, prefix, hosts), found[0])]
        at = found.end()
        raw = _RAW_ENDS.get((found["name"] or found[0]).lower())
        if raw is not None:
            end = raw.search(page, at)
            if end is None:
                break
            parts.append(page[at : end.start()])
            at = end.start()
    return "".join((*parts, page[at:]))


def _attribute(each: re.Match[str], prefix: str, hosts: frozenset[str]) -> str:
    said = each["double"] or each["single"] or each["bare"] or ""
    address = html.unescape(said)
    led = led_back(address, prefix, hosts)
    return each[0] if led == address else f'{each["before"]}"{html.escape(led)}"'
