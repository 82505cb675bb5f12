"""The compiled rules of a schema: a tree as the schema is one, of the levels that have rules or have them below."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from clew.api.objects import Object
from clew.base.value import Value
from clew.cluster.admission.cel.rule import Rule

if TYPE_CHECKING:
    from cel_expr_python import cel


class Compiled(Value):
    """One rule that can run; `at` is the field that its errors name, relative to the level, "" for the level itself."""

    rule: Rule
    program: "cel.Expression"
    message: "cel.Expression | None"
    uses_old: bool
    at: str


class Level(Value):
    """A level of the schema with rules of its own or below it."""

    schema: Object
    is_root: bool
    rules: tuple[Compiled, ...] = ()
    properties: Mapping[str, "Level"] = MappingProxyType({})
    extra: "Level | None" = None
    items: "Level | None" = None

    @property
    def is_empty(self) -> bool:
        return not (self.rules or self.properties or self.extra or self.items)
