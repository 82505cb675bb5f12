"""The rules of a pod: its spec, which templates share, and what may change of a pod that lives.

Source of rules and texts: k8s.io/kubernetes pkg/apis/core/validation.
"""

from clew.cluster.admission.pods.spec import pod_errors, spec_errors
from clew.cluster.admission.pods.updates import ephemeral_errors, pod_update_errors

__all__ = ["ephemeral_errors", "pod_errors", "pod_update_errors", "spec_errors"]
