"""Names of fields as expressions write them: what is no identifier is escaped, what cannot be is not to be had.

Source: k8s.io/apiserver pkg/cel/escaping.go.
"""

import functools
import re

_POSSIBLE = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*")
_RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip
_SIGNS = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_SIGN = re.compile(r"__|[.\-/]")


@functools.lru_cache(maxsize=4096)
def escaped(name: str) -> str | None:
    """The identifier under which an expression finds a field; None where it finds it under none."""
    if not _POSSIBLE.fullmatch(name):
        return None
    if name in _RESERVED:
        return f"__{name}__"
    return _SIGN.sub(lambda found: _SIGNS[found[0]], name)
