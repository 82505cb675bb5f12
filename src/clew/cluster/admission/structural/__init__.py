"""Structural schemas (apiextensions.k8s.io/v1): what a CustomResourceDefinition may say, and objects held against it.

Rules in CEL (x-kubernetes-validations) are next door, in `cel`.
"""

from clew.cluster.admission.structural.before import before
from clew.cluster.admission.structural.filling import default_by_schema, prune_by_schema
from clew.cluster.admission.structural.rules import structural_errors
from clew.cluster.admission.structural.values import schema_errors

__all__ = ["before", "default_by_schema", "prune_by_schema", "schema_errors", "structural_errors"]
