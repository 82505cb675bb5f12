"""Lists: sums, extremes, order, places."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from clew.cluster.admission.cel.functions.function import member

_NUMBERS = ("int", "uint", "double")
_ORDERED = (*_NUMBERS, "string", "bool", "bytes", "timestamp", "duration")
_COMPARED = (float, str, bool, bytearray, datetime, timedelta)
_UNLIKE = "no such overload"


def _kind(item: Any) -> type:
    return float if isinstance(item, int | float) and not isinstance(item, bool) else type(item)


def _compared(items: list[Any]) -> list[Any]:
    kinds = set(map(_kind, items))
    if len(kinds) > 1 or not kinds <= set(_COMPARED):
        raise ValueError(_UNLIKE)
    return items


def _extreme(choose: Callable[[Iterable[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
    def work(items: list[Any]) -> Any:
        if not items:
            raise ValueError(f"{name} called on empty list")
        return choose(_compared(items))

    return work


def _sum(items: list[Any]) -> Any:
    kinds = set(map(_kind, items))
    if len(kinds) > 1 or not kinds <= {float, timedelta}:
        raise ValueError(_UNLIKE)
    return sum(items, start=timedelta()) if kinds == {timedelta} else sum(items)


def _is_sorted(items: list[Any]) -> bool:
    return all(before <= after for before, after in zip(items, _compared(items)[1:], strict=False))


def _index(items: list[Any], wanted: Any) -> int:
    return next((at for at, item in enumerate(items) if _same(item, wanted)), -1)


def _last_index(items: list[Any], wanted: Any) -> int:
    return next((at for at in range(len(items) - 1, -1, -1) if _same(items[at], wanted)), -1)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


LISTS = (
    *(member("sum", (f"list({kind})",), kind, _sum) for kind in (*_NUMBERS, "duration")),
    *(member("min", (f"list({kind})",), kind, _extreme(min, "min")) for kind in _ORDERED),
    *(member("max", (f"list({kind})",), kind, _extreme(max, "max")) for kind in _ORDERED),
    *(member("isSorted", (f"list({kind})",), "bool", _is_sorted) for kind in _ORDERED),
    *(member("indexOf", (f"list({kind})", kind), "int", _index) for kind in _ORDERED),
    *(member("lastIndexOf", (f"list({kind})", kind), "int", _last_index) for kind in _ORDERED),
)
