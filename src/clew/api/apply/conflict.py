"""How an apply fails: somebody else owns a field, or the applied object does not fit its kind."""

from collections.abc import Sequence

from clew.api.apply.fields import Path, in_words
from clew.api.apply.managers import Manager
from clew.api.patch.errors import PatchError


class ApplyError(PatchError):
    """The applied object does not fit its kind's schema."""


class ApplyConflict(Exception):  # noqa: N818 - the protocol's own word
    """Others own fields that the applied object would change; `causes` are metav1.StatusCauses."""

    def __init__(self, conflicts: Sequence[tuple[Manager, Path]]) -> None:
        self.conflicts = sorted(conflicts, key=lambda pair: (str(pair[0]), pair[1]))
        self.causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": in_words(path)}
            for manager, path in self.conflicts
        ]
        super().__init__(self._text())

    def _text(self) -> str:
        count = len(self.conflicts)
        if count == 1:
            manager, path = self.conflicts[0]
            return f"Apply failed with 1 conflict: conflict with {manager}: {in_words(path)}"
        lines: list[str] = []
        last = None
        for manager, path in self.conflicts:
            if manager != last:
                lines.append(f"conflicts with {manager}:")
            last = manager
            lines.append(f"- {in_words(path)}")
        return f"Apply failed with {count} conflicts: " + "\n".join(lines)
