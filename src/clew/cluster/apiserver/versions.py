"""One stored object, several ways to ask for it: Events of two groups, and the versions of a custom kind.

Pure. What is stored is the core group's Event, and a custom object in the version it was written in. A custom object
is read through the schema of today: what that does not name is not shown, what it has a default for is there.
"""

from clew.api.kinds import EVENT, EVENTS_EVENT, Kind
from clew.api.objects import Object
from clew.cluster.admission.structural import default_by_schema, prune_by_schema
from clew.cluster.apiserver.catalog import Catalog

# events.k8s.io/v1 beside core v1: the same matter under two names
_EVENT_FIELDS = {
    "regarding": "involvedObject", "note": "message", "deprecatedSource": "source", "deprecatedCount": "count",
    "deprecatedFirstTimestamp": "firstTimestamp", "deprecatedLastTimestamp": "lastTimestamp",
    "reportingController": "reportingComponent",
}  # fmt: skip
_CORE_FIELDS = {core: new for new, core in _EVENT_FIELDS.items()}


def as_stored(catalog: Catalog, kind: Kind) -> bool:
    """Whether the stored bytes are already what a client of this kind expects."""
    return kind != EVENTS_EVENT and catalog.custom(kind) is None


def outward(catalog: Catalog, kind: Kind, obj: Object) -> Object:
    """A stored object in the shape of the kind it is asked as. May change `obj`."""
    if kind == EVENTS_EVENT:
        obj = {_CORE_FIELDS.get(field, field): value for field, value in obj.items()}
    obj["apiVersion"] = kind.api_version
    custom = catalog.custom(kind)
    if custom is not None:  # versions differ by their schemas and in nothing else
        prune_by_schema(custom.schema, obj)
        default_by_schema(custom.schema, obj)
    return obj


def inward(kind: Kind, obj: Object) -> Object:
    """What a client sends, in the shape that is stored."""
    if kind != EVENTS_EVENT:
        return obj
    kept = {_EVENT_FIELDS.get(field, field): value for field, value in obj.items()}
    kept["apiVersion"] = EVENT.api_version
    return kept
