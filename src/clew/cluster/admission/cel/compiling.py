"""The rules of a schema compiled: a tree of the levels that have any, and what keeps a rule from compiling.

Source of the texts: k8s.io/apiextensions-apiserver pkg/apiserver/schema/cel/compilation.go and
pkg/apis/apiextensions/validation. Kubernetes also refuses rules whose worst case it reckons too costly; here a rule is
held while it runs (`evaluating`).
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from clew.api.objects import Object, clone
from clew.base.value import Value
from clew.cluster.admission.cel.dynamic import is_dangerous
from clew.cluster.admission.cel.evaluating import default_errors
from clew.cluster.admission.cel.level import Compiled, Level
from clew.cluster.admission.cel.machine import checking, optional, program
from clew.cluster.admission.cel.rule import RULES, Rule, field_path, rules_of
from clew.cluster.admission.cel.types import CelType, Messages
from clew.cluster.admission.field_errors import FieldError, invalid

if TYPE_CHECKING:
    from cel_expr_python import cel

_OLD = re.compile(r"\boldSelf\b")
_NO_OLD = "undeclared reference to 'oldSelf"
_LACKING = re.compile(r"\.\s*transformMap(?:Entry)?\s*\(")
_STATUS = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$")
_STRUCT = re.compile(r" not found in struct '[\w.]+'")
_EMBEDDED = "x-kubernetes-embedded-resource"
THE_SCHEMA = "\0"  # in errors: who compiles the same schema once does not know where it stands


class Outcome(Value):
    """In `errors` THE_SCHEMA stands for the place of the schema."""

    level: Level | None
    errors: tuple[FieldError, ...]


def compile_schema(schema: Object) -> Outcome:
    """Every rule of a version's openAPIV3Schema. The same schema is compiled once."""
    key = _key(schema)
    with _LOCK:
        found = _OUTCOMES.get(key)
        if found is None:
            errors: list[FieldError] = []
            level = _Work(errors).level(clone(schema), THE_SCHEMA, "", is_root=True)
            if level and not errors:
                errors += default_errors(level, THE_SCHEMA)
            found = _OUTCOMES[key] = Outcome(level, tuple(errors))
            while len(_OUTCOMES) > _MOST_OUTCOMES:
                del _OUTCOMES[next(iter(_OUTCOMES))]
    return found


def is_compiled(schema: Object) -> bool:
    """Whether asking for it costs nothing."""
    return _key(schema) in _OUTCOMES


def _key(schema: Object) -> bytes:
    return hashlib.sha256(msgspec.json.encode(schema)).digest()


_OUTCOMES: dict[bytes, Outcome] = {}
_MOST_OUTCOMES = 64
_LOCK = threading.Lock()  # the library's environments are made by one thread at a time


class _Work:
    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        self.messages = Messages()
        self._environments: dict[tuple[CelType, CelType | None], cel.Env] = {}

    def level(self, schema: Object, at: str, loose: str, *, is_root: bool = False) -> Level | None:
        """One level and all below it.

        `loose` is the place of the list or map whose items have no identity, "" where there is none above.
        """
        properties: dict[str, Level] = {}
        inside = loose or _loose_map(schema, at)
        for name, inner in (schema.get("properties") or {}).items():
            found = self._below(inner, f"{at}.properties[{name}]", inside)
            if found:
                properties[name] = found
        level = Level(
            schema, is_root, tuple(self._rules(schema, at, loose, is_root=is_root)), properties,
            self._below(schema.get("additionalProperties"), f"{at}.additionalProperties", inside),
            self._below(schema.get("items"), f"{at}.items", loose or _loose_list(schema, at)),
        )  # fmt: skip
        return None if level.is_empty else level

    def _below(self, schema: Any, at: str, loose: str) -> Level | None:
        if not isinstance(schema, dict):
            return None
        return self.level(schema, at, loose, is_root=bool(schema.get(_EMBEDDED)))

    def _rules(self, schema: Object, at: str, loose: str, *, is_root: bool) -> Iterator[Compiled]:
        if not schema.get(RULES):
            return
        kind = self.messages.type_of(schema, is_root=is_root)
        for index, rule in enumerate(rules_of(schema)):
            here = f"{at}.{RULES}[{index}]"
            if kind is None:
                told = "rule declared on schema that does not support validation rules type"
                keeps = "true" if schema.get("x-kubernetes-preserve-unknown-fields") else "false"
                text = f"{told}: '{schema.get('type', '')}' x-kubernetes-preserve-unknown-fields: '{keeps}'"
                self.errors.append(invalid(f"{here}.rule", rule, text))
                continue
            compiled = self._rule(schema, kind, rule, here)
            if compiled is None:
                continue
            if compiled.uses_old and loose:
                text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {loose}"
                self.errors.append(invalid(f"{here}.rule", rule.rule, text))
            if not compiled.uses_old and rule.optional_old_self is not None:
                text = "may not be set if oldSelf is not used in rule"
                self.errors.append(invalid(f"{here}.optionalOldSelf", rule.optional_old_self, text))
            yield compiled

    def _rule(self, schema: Object, kind: CelType, rule: Rule, here: str) -> Compiled | None:
        before = len(self.errors)
        old = optional(kind) if rule.optional_old_self else kind
        gives, wrong, uses_old = self._checked(rule.rule, kind, old)
        if wrong:
            self.errors.append(invalid(f"{here}.rule", rule, f"compilation failed: {wrong}"))
        elif gives != "BOOL":
            self.errors.append(invalid(f"{here}.rule", rule, "cel expression must evaluate to a bool"))
        if rule.message_expression:
            gives, wrong, _ = self._checked(rule.message_expression, kind, old)
            place = f"{here}.messageExpression"
            if wrong:
                self.errors.append(invalid(place, rule, f"messageExpression compilation failed: {wrong}"))
            elif gives != "STRING":
                self.errors.append(invalid(place, rule, "messageExpression must evaluate to a string"))
        if len(self.errors) > before:
            return None
        at = field_path(schema, rule.field_path) or "" if rule.field_path else ""
        try:
            message = _program(rule.message_expression, rule) if rule.message_expression else None
            return Compiled(rule, _program(rule.rule, rule), message, uses_old, at)
        except RuntimeError as wrong:  # what surrounds the rule makes it too deep
            self.errors.append(invalid(f"{here}.rule", rule, f"compilation failed: {_issues(str(wrong))}"))
            return None

    def _checked(self, text: str, kind: CelType, old: CelType) -> tuple[str, str, bool]:
        """The type that it gives, what is wrong with it, and whether it looks at the value before."""
        if _LACKING.search(text):
            return "", "ERROR: <input>:1:1: transformMap is not to be had here: the CEL library cannot run it", False
        if "\0" in text:  # where the library would end it
            return "", "ERROR: <input>:1:1: Syntax error: token recognition error", False
        try:
            return _settled(self._environment(kind, None).compile(text), text, uses_old=False)
        except RuntimeError as wrong:
            told = str(wrong)
        if not (_OLD.search(text) and _NO_OLD in told):
            return "", _issues(told), False
        try:
            return _settled(self._environment(kind, old).compile(text), text, uses_old=True)
        except RuntimeError as wrong:
            return "", _issues(str(wrong)), True

    def _environment(self, kind: CelType, old: CelType | None) -> "cel.Env":
        found = self._environments.get((kind, old))
        if found is None:
            found = self._environments[kind, old] = checking(self.messages, kind, old)
        return found


def _settled(checked: "cel.Expression", text: str, *, uses_old: bool) -> tuple[str, str, bool]:
    """What _checked tells of a rule that the checker takes."""
    if is_dangerous(text, checked.serialize(), knows_optionals=uses_old):
        return "", "ERROR: <input>:1:1: a function of lists is given a list of unknown type beside optionals", uses_old
    return checked.return_type().name(), "", uses_old


def _program(text: str, rule: Rule) -> "cel.Expression":
    """What runs. An optional `oldSelf` is given as null where there is none, and made an optional here."""
    if rule.optional_old_self:
        text = f"cel.bind(oldSelf, oldSelf == null ? optional.none() : optional.of(oldSelf), ({text}\n))"
    compiled = program(text)
    with suppress(RuntimeError):  # the runtime plans a rule when it is first run; of nothing, whatever comes of it
        compiled.eval(data={"self": None, "oldSelf": None})
    return compiled


def _issues(told: str) -> str:
    """The library's account as cel-go prints it."""
    return _STRUCT.sub("", _STATUS.sub("", told))


def _loose_list(schema: Object, at: str) -> str:
    return "" if schema.get("x-kubernetes-list-type") == "map" else at


def _loose_map(schema: Object, at: str) -> str:
    return at if schema.get("x-kubernetes-map-type") == "atomic" else ""
