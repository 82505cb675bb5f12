"""A column, and the small texts that many columns share."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from clew.api.objects import Object
from clew.api.selectors import LabelSelector
from clew.base.value import Value

Cells = Callable[[Object, datetime], list[Any]]


class Column(Value):
    """priority 0 is always shown, 1 only with `-o wide`."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


NAME = Column("Name", "string", "name", 0, "Name must be unique within a namespace.")
AGE = Column("Age", "string", "", 0, "The time since the object was created.")


def columns(*names: str, wide: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """Name, then string columns; those in `wide` only with -o wide. `Age` is the age."""
    made = [AGE if name == "Age" else Column(name) for name in names]
    return (NAME, *made, *(Column(name, priority=1) for name in wide))


def moment(text: str | None) -> datetime | None:
    if not text:
        return None
    return datetime.fromisoformat(text).astimezone(UTC)


def since(text: str | None, now: datetime) -> str:
    """`5s`, `3m2s`, `26h`, `12d`, as kubectl's HumanDuration; `<unknown>` for no time."""
    begun = moment(text)
    return duration(int((now - begun).total_seconds())) if begun else "<unknown>"


def duration(seconds: int) -> str:
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"
    return f"{days // 365}y"


def age(obj: Object, now: datetime) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def name(obj: Object) -> str:
    return str(obj["metadata"].get("name", ""))


def selector(value: Any) -> str:
    """A label selector's text, `<none>` for none."""
    if not value:
        return "<none>"
    if "matchLabels" in value or "matchExpressions" in value:
        return str(LabelSelector.from_object(value)) or "<none>"
    return ",".join(f"{key}={value[key]}" for key in sorted(value)) or "<none>"


def images(spec: Object) -> tuple[str, str]:
    """Container names and images, joined by commas."""
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or []
    return ",".join(each.get("name", "") for each in containers), ",".join(each.get("image", "") for each in containers)
