"""The one base class of every fact, every ir value and every kernel object.

A value is frozen, compares by content and hashes; a snapshot of the world is therefore a reference.
"""

from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, gc=False):
    """Immutable record; fields are declared as in a dataclass. Keep to tuples, frozensets and other values."""
