"""Semantic versions (semver.org 2.0.0), and their lenient form: `v1.2` is `1.2.0` where rules ask to normalize."""

import re

from clew.cluster.admission.cel.functions.function import Function, holds, member

_SEMVER, _TEXT, _BOOL, _INT = "kubernetes.Semver", "string", "bool", "int"
_NUMBER = r"(0|[1-9]\d*)"
_PART = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_FORM = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?", re.ASCII
)
_LENIENT = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(.*)", re.ASCII)
Key = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def _version(text: str) -> Key:
    """What sorts as versions do; build metadata has no say."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"invalid semantic version {text!r}")
    major, minor, patch, before = found.groups()
    parts = before.split(".") if before else []
    told = tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)
    return int(major), int(minor), int(patch), not parts, told


def _normal(text: str, normalize: bool = False) -> str:  # noqa: FBT001, FBT002 - as rules call it
    found = _LENIENT.fullmatch(text) if normalize else None
    if found is not None:
        text = ".".join(str(int(part or 0)) for part in found.groups()[:3]) + found[4]
    _version(text)
    return text


def _order(one: str, other: str) -> int:
    left, right = _version(one), _version(other)
    return (left > right) - (left < right)


def _fits(text: str, normalize: bool = False) -> bool:  # noqa: FBT001, FBT002 - as rules call it
    return holds(lambda each: _normal(each, normalize))(text)


VERSIONS = (
    Function("semver", (_TEXT,), _SEMVER, _normal),
    Function("semver", (_TEXT, _BOOL), _SEMVER, _normal),
    Function("isSemver", (_TEXT,), _BOOL, _fits),
    Function("isSemver", (_TEXT, _BOOL), _BOOL, _fits),
    member("major", (_SEMVER,), _INT, lambda one: _version(one)[0]),
    member("minor", (_SEMVER,), _INT, lambda one: _version(one)[1]),
    member("patch", (_SEMVER,), _INT, lambda one: _version(one)[2]),
    member("isGreaterThan", (_SEMVER, _SEMVER), _BOOL, lambda one, other: _order(one, other) > 0),
    member("isLessThan", (_SEMVER, _SEMVER), _BOOL, lambda one, other: _order(one, other) < 0),
    member("compareTo", (_SEMVER, _SEMVER), _INT, _order),
)
