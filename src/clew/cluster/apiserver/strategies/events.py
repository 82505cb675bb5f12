"""Events: a word about an object, kept for an hour; see chores for their end."""

from collections.abc import Sequence

from clew.api.objects import Object
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.strategies.strategy import Strategy


class EventStrategy(Strategy):
    def errors(self, obj: Object, old: Object | None, subresource: str) -> Sequence[FieldError]:
        found = list(super().errors(obj, old, subresource))
        about = (obj.get("involvedObject") or {}).get("namespace", "")
        namespace = obj["metadata"].get("namespace", "")
        # what is said of a cluster-wide object is kept in default
        if about != namespace and not (not about and namespace in {"default", "kube-system"}):
            found.append(
                FieldError("involvedObject.namespace", "FieldValueInvalid", about, "does not match event.namespace")
            )
        return found
