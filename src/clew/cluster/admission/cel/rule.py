"""One rule of x-kubernetes-validations as it is written, and what is wrong with its form; nothing is compiled here.

Source: k8s.io/apiextensions-apiserver pkg/apis/apiextensions/validation, pkg/apiserver/schema/cel/validation.go.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from clew.api.objects import Object
from clew.cluster.admission.field_errors import FieldError, invalid, required, unsupported

RULES = "x-kubernetes-validations"
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LONGEST_MESSAGE = 2048
_NEWLINE = re.compile(r"[\n\r]")
_STEP = re.compile(r"\.([^.\[\]]+)|\['((?:\\.|[^'\\])+)'\]")


class Rule(msgspec.Struct, frozen=True, rename="pascal"):
    """As apiextensions.ValidationRule, also in its form as JSON: so messages print it."""

    rule: str = ""
    message: str = ""
    message_expression: str = ""
    reason: str | None = None
    field_path: str = ""
    optional_old_self: bool | None = None

    @property
    def name(self) -> str:
        """What the rule is called in messages about it."""
        return self.message.strip() or self.rule.strip()

    @property
    def verdict(self) -> str:
        """What it says of a value that breaks it."""
        return self.message.strip() if self.message else f"failed rule: {self.name}"


def rules_of(schema: Object) -> list[Rule]:
    return [
        Rule(
            each.get("rule") or "", each.get("message") or "", each.get("messageExpression") or "",
            each.get("reason") or None, each.get("fieldPath") or "", each.get("optionalOldSelf"),
        )
        for each in schema.get(RULES) or []
    ]  # fmt: skip


def form_errors(schema: Object, at: str) -> Iterator[FieldError]:
    """What is wrong with a schema's rules before anybody compiles them, at each of its levels."""
    yield from _level_errors(schema, at)
    for name, inner in (schema.get("properties") or {}).items():
        yield from form_errors(inner, f"{at}.properties[{name}]")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from form_errors(schema[word], f"{at}.{word}")


def _level_errors(schema: Object, at: str) -> Iterator[FieldError]:
    for index, rule in enumerate(rules_of(schema)):
        here = f"{at}.{RULES}[{index}]"
        yield from _message_errors(rule, here)
        if rule.message_expression and not rule.message_expression.strip():
            yield required(f"{here}.messageExpression", "messageExpression must be non-empty if specified")
        if rule.reason is not None and rule.reason not in _REASONS:
            yield unsupported(f"{here}.reason", rule.reason, _REASONS)
        path = rule.field_path
        if path and not path.strip():
            yield invalid(f"{here}.fieldPath", path, "fieldPath must be non-empty if specified")
        if _NEWLINE.search(path):
            yield invalid(f"{here}.fieldPath", path, "fieldPath must not contain line breaks")
        if path and field_path(schema, path) is None:
            yield invalid(f"{here}.fieldPath", path, "fieldPath must be a valid path")


def _message_errors(rule: Rule, here: str) -> Iterator[FieldError]:
    text = rule.message.strip()
    if not rule.rule.strip():
        yield required(f"{here}.rule", "rule is not specified")
    elif rule.message and not text:
        yield invalid(f"{here}.message", rule.message, "message must be non-empty if specified")
    elif len(rule.message) > _LONGEST_MESSAGE:
        shown = f"{rule.message[:10]}..."
        yield invalid(f"{here}.message", shown, f"message must have a maximum length of {_LONGEST_MESSAGE} characters")
    elif _NEWLINE.search(text):
        yield invalid(f"{here}.message", rule.message, "message must not contain line breaks")
    elif _NEWLINE.search(rule.rule.strip()) and not text:
        yield required(f"{here}.message", "message must be specified if rule contains line breaks")


def field_path(schema: Object, path: str) -> str | None:
    """`.spec['x.y'].z` as errors print it, `spec.x.y.z`; None where it leads to no field of the schema."""
    told, at, level = "", 0, schema
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        name = step[1] if step[1] is not None else re.sub(r"\\(.)", r"\1", step[2])
        below: Any = (level.get("properties") or {}).get(name)
        if below is not None:
            told += f".{name}"
        elif isinstance(level.get("additionalProperties"), dict) and not level.get("properties"):
            below, told = level["additionalProperties"], f"{told}[{name}]"
        else:
            return None
        level, at = below, step.end()
    return told.removeprefix(".")
