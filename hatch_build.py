"""Build hook: makes the compressed OpenAPI data that the API server ships (see clew.api.openapi_build)."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuildHook(BuildHookInterface):  # type: ignore[type-arg, misc]
    """Runs before a wheel (also an editable one) is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate data files below src/clew/api/data and include them."""
