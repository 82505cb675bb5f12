"""Objects of custom kinds: pruned, filled and checked by the structural schema of their definition."""

import asyncio
from collections.abc import Sequence

from clew.api import schema
from clew.api.objects import Object, clone
from clew.cluster.admission import FieldError, validate_metadata
from clew.cluster.admission.structural import before, default_by_schema, prune_by_schema, schema_errors
from clew.cluster.apiserver.catalog import Custom
from clew.cluster.apiserver.errors import ApiRefusal
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies.strategy import Strategy

# what a rule may rely on: a value that is there, of its type and size
_BLOCKING = frozenset({
    "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid",
})  # fmt: skip
_UNCHECKED = FieldError(
    "<nil>", "FieldValueInvalid", None,
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete"
    " validation",
)  # fmt: skip


class CustomStrategy(Strategy):
    def __init__(self, custom: Custom, state: State) -> None:
        super().__init__(custom.kind)
        self.custom = custom
        self.state = state
        self.unconditional = False
        self.shape = custom.shape

    def has_generation(self, obj: Object) -> bool:  # noqa: ARG002 - of all custom objects
        return True

    def content(self, obj: Object) -> Object:
        """Without a status of its own, what is called so is content as well."""
        return super().content(obj) if self.has_status else {**obj, "metadata": None}

    def fill(self, obj: Object, subresource: str = "") -> None:  # noqa: ARG002 - status has its schema too
        schema.tidy(self.kind, obj)
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

    async def think(self, obj: Object) -> None:  # noqa: ARG002 - of all objects
        """Rules that nobody asked for since the start are compiled beside the loop."""
        if not self.custom.rules.compiled:
            await asyncio.to_thread(self.custom.rules.compile)

    def errors(self, obj: Object, old: Object | None, subresource: str) -> Sequence[FieldError]:  # noqa: ARG002
        shape, rules = self.custom.schema, self.custom.rules
        refused = [*schema_errors(shape, obj)]
        if old is not None and (refused or rules.any):  # as it is read today; most changes of most kinds need no look
            old = clone(old)
            prune_by_schema(shape, old)
            default_by_schema(shape, old)
            refused = [*schema_errors(shape, obj, before(obj, old))] if refused else []
        wrong = [*validate_metadata(self.kind, obj, old), *refused]
        if rules.any and any(each.reason in _BLOCKING for each in wrong):
            return [*wrong, _UNCHECKED]
        return [*wrong, *rules.errors(obj, old)]
