"""What an object must look like before it is stored: defaults filled in, then every rule of its kind checked.

Pure functions over decoded objects, with the real server's field paths and texts. Called by the API server alone.
"""

from clew.cluster.admission.cluster_kinds import token_request_errors
from clew.cluster.admission.defaults import apply_defaults, qos_class
from clew.cluster.admission.field_errors import FieldError
from clew.cluster.admission.metadata import validate_metadata
from clew.cluster.admission.pods import ephemeral_errors
from clew.cluster.admission.validate import validate_create, validate_status, validate_update, warnings_of

__all__ = [
    "FieldError",
    "apply_defaults",
    "ephemeral_errors",
    "qos_class",
    "token_request_errors",
    "validate_create",
    "validate_metadata",
    "validate_status",
    "validate_update",
    "warnings_of",
]
