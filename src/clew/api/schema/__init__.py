"""Request bodies held against their kind, as the API server's decoder does: unknown fields, wrong types, repeated keys.

Texts follow sigs.k8s.io/json, which decodes into Go structs, and sigs.k8s.io/yaml. Rules about values (ranges, names)
are admission's matter.
"""

from clew.api.schema.checks import decode_problems
from clew.api.schema.duplicates import duplicate_fields
from clew.api.schema.problem import FieldProblem
from clew.api.schema.tidy import drop_unknown, tidy

__all__ = ["FieldProblem", "decode_problems", "drop_unknown", "duplicate_fields", "tidy"]
