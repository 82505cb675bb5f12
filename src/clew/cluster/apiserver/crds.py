"""CustomResourceDefinitions: accepted at once, and the objects of their kinds checked by their structural schema."""

from collections.abc import Sequence
from datetime import datetime

from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.cluster.admission import FieldError, validate_metadata
from clew.cluster.admission.structural import default_by_schema, prune_by_schema, schema_errors


def accept_definition(crd: Object, now: datetime) -> None:
    """Complete the names and mark the definition Established: nobody else could claim them on this one server."""
    spec = crd["spec"]
    names = spec.get("names") or {}
    names.setdefault("singular", str(names.get("kind", "")).lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")
    spec["names"] = names
    spec.setdefault("conversion", {"strategy": "None"})
    moment = rfc3339(now)
    crd["status"] = {
        "acceptedNames": names,
        "storedVersions": [each["name"] for each in spec.get("versions") or () if each.get("storage")],
        "conditions": [
            {
                "type": "NamesAccepted", "status": "True", "lastTransitionTime": moment,
                "reason": "NoConflicts", "message": "no conflicts found",
            },
            {
                "type": "Established", "status": "True", "lastTransitionTime": moment,
                "reason": "InitialNamesAccepted", "message": "the initial names have been accepted",
            },
        ],
    }  # fmt: skip


def _schema(version: Object) -> Object:
    found: Object = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    return found


def prepare_custom(version: Object, obj: Object) -> None:
    """Drop what the schema does not know and fill its defaults."""
    schema = _schema(version)
    prune_by_schema(schema, obj)
    default_by_schema(schema, obj)


def custom_errors(version: Object, kind: Kind, obj: Object, old: Object | None) -> Sequence[FieldError]:
    return [*validate_metadata(kind, obj, old), *schema_errors(_schema(version), obj)]
