"""Objects that are right, to be made wrong in one place."""

from collections.abc import Callable
from typing import Any

import pytest

from clew.api.kinds import Kind
from clew.api.objects import clone
from clew.cluster.admission import apply_defaults, validate_create, validate_update

Texts = Callable[..., list[str]]


@pytest.fixture
def refused() -> Texts:
    """What admission says of a new object, defaults filled in first; with `old`, of a change."""

    def judge(kind: Kind, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
        new = clone(obj)
        new.setdefault("metadata", {}).setdefault("name", "x")
        apply_defaults(kind, new)
        if old is None:
            return [str(error) for error in validate_create(kind, new)]
        before = clone(old)
        before.setdefault("metadata", {}).setdefault("name", "x")
        apply_defaults(kind, before)
        return [str(error) for error in validate_update(kind, new, before)]

    return judge
