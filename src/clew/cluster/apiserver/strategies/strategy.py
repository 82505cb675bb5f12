"""The common rules of writing: defaults, status apart from the rest, generations, admission's checks.

A kind with rules of its own overrides what differs. Nothing here awaits or stores.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from clew.api import schema
from clew.api.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    CRD,
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    EVENT,
    LEASE,
    NAMESPACE,
    NODE,
    REPLICA_SET,
    ROLE,
    ROLE_BINDING,
    SERVICE,
    Kind,
)
from clew.api.objects import Object
from clew.cluster import admission
from clew.cluster.admission import FieldError

if TYPE_CHECKING:
    from clew.api.shapes import Shape

_NO_GENERATION = frozenset({NAMESPACE, NODE, SERVICE, EVENT, LEASE, CONFIG_MAP})
_CONDITIONAL = frozenset({CRD, LEASE})
_CREATED_BY_UPDATE = frozenset({
    EVENT, LEASE, ENDPOINTS, SERVICE, ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING,
})  # fmt: skip

_BORN: dict[Kind, Object] = {
    DEPLOYMENT: {},
    REPLICA_SET: {"replicas": 0},
    DAEMON_SET: dict.fromkeys(
        ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"), 0
    ),
}


class Claim(Protocol):
    """Something taken for an object before it is stored."""

    def keep(self) -> None:
        """The object is stored: give back what its old state held and its new one does not."""
        ...

    def undo(self) -> None:
        """The object was not stored."""
        ...


class Strategy:
    """One kind's rules; `kind` is the stored one."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.has_status = "status" in kind.subresources
        self.unconditional = kind not in _CONDITIONAL  # whether a PUT may leave out the resourceVersion
        self.created_by_update = kind in _CREATED_BY_UPDATE
        self.shape: Shape | None = None

    def has_generation(self, obj: Object) -> bool:
        return self.kind == ENDPOINT_SLICE or ("spec" in obj and self.kind not in _NO_GENERATION)

    def content(self, obj: Object) -> Object:
        """The part of an object whose changes are counted by its generation."""
        return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}

    async def ready(self, namespace: str, obj: Object) -> None:
        """Wait a moment for what a new object needs and somebody is about to make."""

    async def think(self, obj: Object) -> None:
        """Work out beside the loop what takes long and depends on the object alone, before anything is decided."""

    def fill(self, obj: Object, subresource: str = "") -> None:
        """Into the form that is stored: as Go's structs would give it back, with every default."""
        if subresource == "status":
            schema.tidy(self.kind, obj)
        else:
            admission.apply_defaults(self.kind, obj)

    def admit(self, obj: Object) -> None:
        """What the server adds to a new object of its own accord, or refuses for reasons beyond the object."""

    def prepare_create(self, obj: Object) -> None:
        """Drop what only the server or a controller may say; an empty status shows what Go's struct holds."""
        if self.has_status:
            obj.pop("status", None)
        if self.kind in _BORN:
            obj["status"] = dict(_BORN[self.kind])

    def prepare_update(self, new: Object, old: Object) -> None:
        """Carry over what a change of the object may not touch."""
        if self.has_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]

    def prepare_status(self, new: Object, old: Object) -> Object:
        """The successor when only status may change; labels and owners of workloads stay, others may be told here."""
        made = {**old, "metadata": dict(new["metadata"])}
        if self.kind.group == "apps":
            for field in ("labels", "ownerReferences"):
                made["metadata"].pop(field, None)
                if field in old["metadata"]:
                    made["metadata"][field] = old["metadata"][field]
        made.pop("status", None)
        if "status" in new:
            made["status"] = new["status"]
        return made

    def errors(self, obj: Object, old: Object | None, subresource: str) -> Sequence[FieldError]:
        """Everything that is wrong; `old` None for a new object."""
        if old is None:
            return admission.validate_create(self.kind, obj)
        if subresource == "status":
            return admission.validate_status(self.kind, obj, old)
        return admission.validate_update(self.kind, obj, old)

    def claim(self, obj: Object, old: Object | None) -> Claim | None:  # noqa: ARG002 - for those who have what to take
        """Take what the object needs of the cluster's pools, completing it; 422 where that cannot be had."""
        return None

    def check_delete(self, obj: Object) -> None:
        """Refuse to delete what must stay."""

    def stored(self, obj: Object) -> None:
        """The object is durable."""

    def removed(self, obj: Object) -> None:
        """The object is durably gone."""
