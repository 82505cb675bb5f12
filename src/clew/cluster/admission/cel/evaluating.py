"""Objects of custom kinds held against the compiled rules of their schema.

Rules run on the loop, as every decision of a write does: a rule takes some ten microseconds. What one may do is
limited: 10,000 rounds of loops (the CEL library's), CALLS_OF_A_RULE calls of Kubernetes' functions, and BUDGET for all
rules of an object, about a tenth of a second.

Source of rules and texts: k8s.io/apiextensions-apiserver pkg/apiserver/schema/cel/validation.go.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
from cel_expr_python import cel

from clew.api.objects import Object
from clew.cluster.admission.cel.level import Compiled, Level
from clew.cluster.admission.cel.machine import Work, running
from clew.cluster.admission.cel.names import escaped
from clew.cluster.admission.cel.values import Views
from clew.cluster.admission.field_errors import FieldError, duplicate, forbidden, invalid, required
from clew.cluster.admission.structural.before import NEW, Before, before, of_field, of_item

BUDGET = 100_000  # microseconds of work, roughly: what is counted does not depend on how busy the machine is
_A_RULE, _A_CALL, _A_VALUE = 10, 3, 1
_LONGEST_MESSAGE = 5 << 10
_OVER = "operation cancelled: actual cost limit exceeded"
_NO_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_ROOT = "<nil>"  # as Go prints the path of the object itself


class _EndedError(Exception):
    """No further rules are run."""


def rule_errors(level: Level, obj: Object, old: Object | None) -> list[FieldError]:
    """Every rule that an object breaks; `old` None for a new object."""
    errors: list[FieldError] = []
    with suppress(_EndedError):
        _Run(errors).level(level, obj, before(obj, old), "")
    return errors


def default_errors(level: Level, at: str) -> Iterator[FieldError]:
    """The defaults of a schema that break its rules; `at` is the schema's place."""
    if level.schema.get("default") is not None:
        errors: list[FieldError] = []
        with suppress(_EndedError):
            _Run(errors).level(level, level.schema["default"], NEW, f"{at}.default")
        yield from errors
    for name, below in level.properties.items():
        yield from default_errors(below, f"{at}.properties[{name}]")
    for word, one in (("additionalProperties", level.extra), ("items", level.items)):
        if one is not None:
            yield from default_errors(one, f"{at}.{word}")


class _Run:
    """One object's evaluation."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        self.left = BUDGET
        self._views = Views()

    def level(self, level: Level, value: Any, was: Before, at: str) -> None:
        if value is None:
            return
        if level.rules:
            self._rules(level, value, was, at)
        if isinstance(value, dict):
            self._map(level, value, was, at)
        elif isinstance(value, list) and level.items:
            for index, item in enumerate(value):
                self.level(level.items, item, of_item(level.schema, item, index, was), f"{at}[{index}]")

    def _map(self, level: Level, value: Object, was: Before, at: str) -> None:
        for name, item in value.items():
            inner, place = level.properties.get(name), f"{at}.{name}" if at else name
            if inner is None and level.extra is not None:
                inner, place = level.extra, f"{at}[{name}]"
            if inner is not None:
                self.level(inner, item, of_field(level.schema, name, item, was), place)

    def _rules(self, level: Level, value: Any, was: Before, at: str) -> None:
        due = [each for each in level.rules if _is_due(each, was)]
        if not due:
            return
        seen, size = self._views.of(level.schema, value, is_root=level.is_root)
        then, more = self._views.of(level.schema, was.old, is_root=level.is_root) if was.compared else (None, 0)
        self._spend(_A_VALUE * (size + more), level, at)
        given = running().Activation({"self": seen, "oldSelf": _in_order(level.schema, seen, then)})
        for compiled in due:
            self._rule(compiled, given, level, at)

    def _rule(self, compiled: Compiled, given: "cel.Activation", level: Level, at: str) -> None:
        kind, rule = level.schema.get("type", ""), compiled.rule
        result, wrong = self._run(compiled.program, given, level, at)
        if wrong:
            self.errors.append(invalid(at or _ROOT, kind, _failure(wrong, rule.name)))
            if wrong.startswith(_OVER):
                raise _EndedError
        elif result is not True:
            place = ".".join(filter(None, (at, compiled.at))) or _ROOT
            detail = self._detail(compiled, given, level, place)
            self.errors.append(_told(rule.reason, place, kind, detail))

    def _detail(self, compiled: Compiled, given: "cel.Activation", level: Level, at: str) -> str:
        """What messageExpression says; the message where that says nothing that can be printed."""
        if compiled.message is None:
            return compiled.rule.verdict
        result, wrong = self._run(compiled.message, given, level, at)
        if wrong.startswith(_OVER):
            what = "no further validation rules will be run due to call cost exceeds limit for messageExpression"
            written = msgspec.json.encode(compiled.rule.message_expression).decode()
            self.errors.append(invalid(at, level.schema.get("type", ""), f"{what}: {written}"))
            raise _EndedError
        text = result.strip() if isinstance(result, str) and not wrong else ""
        if not text or "\n" in text or len(text.encode()) > _LONGEST_MESSAGE:
            return compiled.rule.verdict
        return text

    def _run(self, program: "cel.Expression", given: "cel.Activation", level: Level, at: str) -> tuple[Any, str]:
        """The result, and why there is none."""
        Work.calls = 0
        try:
            value = program.eval(given)
            failed = value.type() == cel.Type.ERROR
            result = value.value()
        except RuntimeError as stopped:  # the runtime's own limits
            failed, result = True, str(stopped)
        self._spend(_A_RULE + _A_CALL * Work.calls, level, at)
        return (None, _reason(result)) if failed else (result, "")

    def _spend(self, cost: int, level: Level, at: str) -> None:
        self.left -= cost
        if self.left < 0:
            self.errors.append(invalid(at or _ROOT, level.schema.get("type", ""), _NO_BUDGET))
            raise _EndedError


def _is_due(compiled: Compiled, was: Before) -> bool:
    """A rule on a change needs a value before, if that is not optional; others do not look at what did not change."""
    if compiled.uses_old:
        return was.compared or bool(compiled.rule.optional_old_self)
    return not was.same


def _in_order(schema: Object, new: Any, old: Any) -> Any:
    """Sets and keyed lists are equal in any order: an old one that differs by its order only is shown in the new one's.

    The runtime compares lists by place and can be told nothing else.
    """
    if isinstance(new, dict) and isinstance(old, dict):
        inner = {escaped(name): below for name, below in (schema.get("properties") or {}).items()}
        return {name: _in_order(inner.get(name) or {}, new.get(name), item) for name, item in old.items()}
    if not (isinstance(new, list) and isinstance(old, list) and len(new) == len(old)):
        return old
    if schema.get("x-kubernetes-list-type") not in ("map", "set"):
        return old
    rest = list(old)
    for item in new:
        if item not in rest:
            return old
        rest.remove(item)
    return new


_REASONS = (
    ("Key not found in map : ", "no such key: "),
    ("divide by zero", "division by zero"),
    ("modulus by zero", "modulus by zero"),
    ("No matching overloads found : ", "no such overload: "),
    ("Iteration budget exceeded", _OVER),
)


def _reason(told: str) -> str:
    """The library's account of a failure in cel-go's words."""
    text = str(told).partition(": ")[2] or str(told)
    text = text.removesuffix(" [INTERNAL]")
    if text.startswith("Index error: index="):
        return f"index out of bounds: {text.removeprefix('Index error: index=').partition(' ')[0]}"
    for theirs, ours in _REASONS:
        if text.startswith(theirs):
            rest = text.removeprefix(theirs)
            return ours + (rest.strip('"') if theirs.startswith("Key") else rest)
    return text


def _failure(wrong: str, name: str) -> str:
    if wrong.startswith("no such overload"):
        told = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{wrong}': {told}: {name}"
    if wrong.startswith(_OVER):
        return f"'{wrong}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
    return f"{wrong} evaluating rule: {name}"


def _told(reason: str | None, at: str, kind: str, detail: str) -> FieldError:
    match reason:
        case "FieldValueForbidden":
            return forbidden(at, detail)
        case "FieldValueRequired":
            return required(at, detail)
        case "FieldValueDuplicate":
            return duplicate(at, kind)
    return invalid(at, kind, detail)
