"""`find` and `findAll`: the parts of a text that a regular expression of RE2 fits.

Python's own `re` is no answer: it can take for ever. The CEL library has RE2 and gives the group of an expression that
has one, so groups are made such that give nothing.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

from clew.cluster.admission.cel.functions.function import member

_TEXT, _LIST = "string", "list(string)"
_GROUP = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\((?:\?P?<\w+>|(?!\?))", re.DOTALL)
Find = Callable[[str, str], list[str]]


def without_groups(pattern: str) -> str:
    """The same expression with groups that catch nothing; classes and escapes stay as they are."""
    return _GROUP.sub(lambda found: "(?:" if found[0].startswith("(") else found[0], pattern)


@functools.cache
def _finder() -> Find:
    from cel_expr_python import cel  # noqa: PLC0415 - this table is also read where nothing is run

    env = cel.NewEnv(
        variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING},
        config=cel.NewEnvConfigFromYaml("extensions:\n- {name: regex}\n- {name: optional}\n"),
    )
    program = env.compile("regex.extractAll(text, pattern)")

    def find(text: str, pattern: str) -> list[str]:
        found = program.eval(data={"text": text, "pattern": pattern})
        if found.type() == cel.Type.ERROR:
            raise ValueError(f"illegal regex: {found.value()}")
        texts: list[str] = found.plain_value()
        return texts

    return find


def _find_all(text: str, pattern: str, limit: int = -1) -> list[Any]:
    found = _finder()(text, without_groups(pattern))
    return found if limit < 0 else found[:limit]


def _find(text: str, pattern: str) -> str:
    found = _find_all(text, pattern, 1)
    return found[0] if found else ""


TEXTS = (
    member("find", (_TEXT, _TEXT), _TEXT, _find),
    member("findAll", (_TEXT, _TEXT), _LIST, _find_all),
    member("findAll", (_TEXT, _TEXT, "int"), _LIST, _find_all),
)
