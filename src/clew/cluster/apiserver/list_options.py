"""What a list or a watch may be asked for (metav1.ListOptions), read from a query; and the tokens of pages.

Pure. Texts are those of k8s.io/apimachinery pkg/apis/meta/internalversion/validation.
"""

import base64
from collections.abc import Iterator, Mapping

import msgspec

from clew.base.value import Value
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.errors import bad_request, invalid_options

ANY_VERSION = -1  # in a token: go on with what is there now, whatever was there before
_EXACT, _NOT_OLDER = "Exact", "NotOlderThan"
_MATCH = "resourceVersionMatch"
_DEFAULT_WATCH = 1800.0  # seconds


class ListWanted(Value):
    """`revision` 0 for the newest; `exactly` that one or any that is not older; `after` the last key of a page."""

    revision: int = 0
    exactly: bool = False
    after: str = ""
    limit: int = 0


class WatchWanted(Value):
    """`since` a revision, None for now; all that exists first with `initial`, and a bookmark after it with `marked`."""

    since: int | None = None
    initial: bool = False
    marked: bool = False
    bookmarks: bool = False
    seconds: float = _DEFAULT_WATCH


def flag(query: Mapping[str, str], name: str) -> bool:
    """A switch in a query as Kubernetes reads one: on where it is there and not `false` or `0`, so also bare."""
    return name in query and query[name].lower() not in {"false", "0"}


def list_wanted(query: Mapping[str, str]) -> ListWanted:
    """400 or 422 for what contradicts itself."""
    _refuse(_list_errors(query))
    limit = _whole_number(query, "limit")
    version = _version(query)
    if query.get("continue"):
        if version:
            raise bad_request("specifying resource version is not allowed when using continue")
        revision, after = _read_token(query["continue"])
        return ListWanted(revision, exactly=True, after=after, limit=limit)
    match = query.get(_MATCH, "")
    exactly = bool(version) and (match == _EXACT or (limit > 0 and not match))
    return ListWanted(version, exactly=exactly, limit=limit)


def watch_wanted(query: Mapping[str, str]) -> WatchWanted:
    """400 or 422 for what contradicts itself."""
    _refuse(_watch_errors(query))
    version = _version(query)
    asked = query.get("sendInitialEvents")
    bookmarks = flag(query, "allowWatchBookmarks")
    initial = flag(query, "sendInitialEvents") if asked is not None else not version
    return WatchWanted(
        since=version or None, initial=initial, marked=initial and asked is not None and bookmarks,
        bookmarks=bookmarks, seconds=float(_whole_number(query, "timeoutSeconds") or _DEFAULT_WATCH),
    )  # fmt: skip


def _refuse(errors: Iterator[FieldError]) -> None:
    wrong = list(errors)
    if wrong:
        raise invalid_options("ListOptions", wrong)


def _forbidden(field: str, why: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", None, why)


def _list_errors(query: Mapping[str, str]) -> Iterator[FieldError]:
    match = query.get(_MATCH, "")
    if match and not query.get("resourceVersion"):
        yield _forbidden(_MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match and query.get("continue"):
        yield _forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided")
    if match not in {"", _EXACT, _NOT_OLDER}:
        yield FieldError(_MATCH, "FieldValueNotSupported", match, f'supported values: "{_EXACT}", "{_NOT_OLDER}", ""')
    if match == _EXACT and query.get("resourceVersion") == "0":
        yield _forbidden(_MATCH, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if "sendInitialEvents" in query:
        yield _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _watch_errors(query: Mapping[str, str]) -> Iterator[FieldError]:
    match, asked = query.get(_MATCH, ""), "sendInitialEvents" in query
    if asked and match != _NOT_OLDER:
        yield _forbidden(_MATCH, f"sendInitialEvents requires setting resourceVersionMatch to {_NOT_OLDER}")
    if match and not asked:
        yield _forbidden(_MATCH, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if match not in {"", _NOT_OLDER}:
        yield FieldError(_MATCH, "FieldValueNotSupported", match, f'supported values: "{_NOT_OLDER}"')
    if match and query.get("continue"):
        yield _forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided")


def _version(query: Mapping[str, str]) -> int:
    version = query.get("resourceVersion") or "0"
    if not version.isdecimal():
        text = f'strconv.ParseUint: parsing "{version}": invalid syntax'
        wrong = FieldError("resourceVersion", "FieldValueInvalid", version, text)
        raise bad_request(str(wrong))
    return int(version)


def _whole_number(query: Mapping[str, str], name: str) -> int:
    value = query.get(name) or "0"
    if not value.isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
    return int(value)


def write_token(revision: int, key: str) -> str:
    """The `continue` of a page whose last key this is."""
    made = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": revision, "start": key})
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        data = msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(data["rv"]), str(data["start"])
    except (ValueError, KeyError, TypeError):
        raise bad_request("continue key is not valid: it is not one that this server gave") from None
