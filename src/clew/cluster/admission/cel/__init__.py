"""Rules in CEL that CustomResourceDefinitions carry (x-kubernetes-validations, KEP-2876): compiled and evaluated.

Nothing of the CEL library is loaded before a definition with rules asks for it here: it costs 35 ms and 13 MB, and most
clusters of this house have no such definition.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission.cel.rule import RULES, form_errors
from clew.cluster.admission.field_errors import FieldError

__all__ = ["Rules", "compile_errors", "form_errors", "has_rules", "must_compile"]


def has_rules(schema: Any) -> bool:
    """Whether any level of a schema has rules."""
    if not isinstance(schema, dict):
        return False
    below = (*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties"))
    return bool(schema.get(RULES)) or any(map(has_rules, below))


def compile_errors(schema: Object, at: str) -> Iterator[FieldError]:
    """What keeps the rules of a version's openAPIV3Schema, which stands at a path, from compiling."""
    if not has_rules(schema):
        return
    from clew.cluster.admission.cel.compiling import THE_SCHEMA, compile_schema  # noqa: PLC0415 - loads the CEL library

    for error in compile_schema(schema).errors:
        field, detail = (text.replace(THE_SCHEMA, at) for text in (error.field, error.detail))
        yield FieldError(field, error.reason, error.value, detail)


def must_compile(schema: Object) -> bool:
    """Whether the rules of a schema have still to be compiled, which may take a tenth of a second."""
    if not has_rules(schema):
        return False
    from clew.cluster.admission.cel.compiling import is_compiled  # noqa: PLC0415 - loads the CEL library

    return not is_compiled(schema)


class Rules:
    """The rules of one version of a custom kind; compiled when the first object comes."""

    def __init__(self, schema: Object) -> None:
        self._schema = schema
        self._judge: Callable[[Object, Object | None], list[FieldError]] | None = None
        self.any = has_rules(schema)
        if not self.any:
            self._judge = _nothing_wrong

    @property
    def compiled(self) -> bool:
        return self._judge is not None

    def compile(self) -> None:
        """The work that can be done before there is an object to judge, also in a thread."""
        from clew.cluster.admission.cel.compiling import compile_schema  # noqa: PLC0415 - loads the CEL library
        from clew.cluster.admission.cel.evaluating import rule_errors  # noqa: PLC0415 - as above

        level = compile_schema(self._schema).level
        self._judge = functools.partial(rule_errors, level) if level else _nothing_wrong

    def errors(self, obj: Object, old: Object | None) -> list[FieldError]:
        """Every rule that an object breaks, `old` None where it is new."""
        if self._judge is None:
            self.compile()
        assert self._judge is not None  # noqa: S101 - compile has set it
        return self._judge(obj, old)


def _nothing_wrong(obj: Object, old: Object | None) -> list[FieldError]:  # noqa: ARG001 - as rules are asked
    return []
