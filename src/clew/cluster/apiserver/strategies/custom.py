"""Objects of custom kinds: pruned, filled and checked by the structural schema of their definition."""

from collections.abc import Sequence

from clew.api.objects import Object, clone
from clew.cluster.admission import FieldError, validate_metadata
from clew.cluster.admission.structural import default_by_schema, prune_by_schema, schema_errors
from clew.cluster.apiserver.catalog import Custom
from clew.cluster.apiserver.errors import ApiRefusal
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies.strategy import Strategy


class CustomStrategy(Strategy):
    def __init__(self, custom: Custom, state: State) -> None:
        super().__init__(custom.kind)
        self.custom = custom
        self.state = state
        self.unconditional = False
        self.shape = custom.shape

    def has_generation(self, obj: Object) -> bool:  # noqa: ARG002 - of all custom objects
        return True

    def fill(self, obj: Object, subresource: str = "") -> None:  # noqa: ARG002 - status has its schema too
        prune_by_schema(self.custom.schema, obj)
        default_by_schema(self.custom.schema, obj)

    def admit(self, obj: Object) -> None:  # noqa: ARG002 - no object is welcome any more
        if self.custom.terminating:
            text = "create not allowed while custom resource definition is terminating"
            raise ApiRefusal(405, "MethodNotAllowed", text, {})

    def prepare_status(self, new: Object, old: Object) -> Object:
        made = {**old, "metadata": dict(old["metadata"])}
        for field in ("resourceVersion", "managedFields"):
            if field in new["metadata"]:
                made["metadata"][field] = new["metadata"][field]
        made.pop("status", None)
        if "status" in new:
            made["status"] = new["status"]
        return made

    def errors(self, obj: Object, old: Object | None, subresource: str) -> Sequence[FieldError]:  # noqa: ARG002
        return [*validate_metadata(self.kind, obj, old), *schema_errors(self.custom.schema, obj)]


def unknown_fields(custom: Custom, obj: Object) -> list[str]:
    """`unknown field "spec.foo"` for each field that the schema will drop."""
    pruned = clone(obj)
    prune_by_schema(custom.schema, pruned)
    return [f'unknown field "{path}"' for path in _lost(obj, pruned, "")]


def _lost(before: object, after: object, path: str) -> list[str]:
    found: list[str] = []
    if isinstance(before, dict) and isinstance(after, dict):
        for field, value in before.items():
            at = f"{path}.{field}" if path else field
            found += _lost(value, after[field], at) if field in after else [at]
    elif isinstance(before, list) and isinstance(after, list):
        for index, (one, other) in enumerate(zip(before, after, strict=False)):
            found += _lost(one, other, f"{path}[{index}]")
    return found
