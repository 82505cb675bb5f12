"""What may change of a pod that lives: images, a deadline, more tolerations, and debug containers by their own door."""

from collections.abc import Iterator

from clew.api.objects import Object, clone
from clew.cluster.admission.field_errors import FieldError, forbidden, invalid, not_found, required
from clew.cluster.admission.pods.containers import one_container
from clew.cluster.admission.pods.volumes import volume_errors

_CHANGEABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
    " (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was"
    " previously negative)"
)
_FREE = ("activeDeadlineSeconds", "schedulingGates", "terminationGracePeriodSeconds", "tolerations")


def pod_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    before, after = old.get("spec") or {}, new.get("spec") or {}
    for group in ("initContainers", "containers"):
        if len(after.get(group) or []) != len(before.get(group) or []):
            yield forbidden(f"spec.{group}", "pod updates may not add or remove containers")
            return
        for index, container in enumerate(after.get(group) or []):
            image = container.get("image") or ""
            if not image:
                yield required(f"spec.{group}[{index}].image")
            elif image != image.strip():
                text = "must not have leading or trailing whitespace"
                yield invalid(f"spec.{group}[{index}].image", image, text)
    yield from _deadline(before, after)
    yield from _gates(before, after)
    yield from _tolerations(before.get("tolerations") or [], after.get("tolerations") or [])
    if _fixed(before) != _fixed(after) or _grace_changed(before, after):
        changed = sorted(name for name in {*before, *after} if _differs(before, after, name))
        text = f"pod updates may not change fields other than {_CHANGEABLE}"
        yield forbidden("spec", f"{text}\n{', '.join(f'spec.{name}' for name in changed)} differs" if changed else text)


def _fixed(spec: Object) -> Object:
    """The part that no update may change."""
    rest: Object = {name: clone(value) for name, value in spec.items() if name not in _FREE}
    for group in ("initContainers", "containers"):
        for container in rest.get(group) or []:
            container.pop("image", None)
    return rest


def _differs(before: Object, after: Object, name: str) -> bool:
    one, other = (_fixed({name: spec[name]}) if name in spec else {} for spec in (before, after))
    return one != other


def _grace_changed(before: Object, after: Object) -> bool:
    old, new = (spec.get("terminationGracePeriodSeconds") for spec in (before, after))
    return old != new and not (old is not None and old < 0 and new == 1)


def _gates(before: Object, after: Object) -> Iterator[FieldError]:
    """They are only ever taken away: a pod that may be scheduled stays so (KEP-3521)."""
    old = {gate.get("name") for gate in before.get("schedulingGates") or []}
    for gate in after.get("schedulingGates") or []:
        if gate.get("name") not in old:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield forbidden("spec.schedulingGates", text)


def _deadline(before: Object, after: Object) -> Iterator[FieldError]:
    old, new = before.get("activeDeadlineSeconds"), after.get("activeDeadlineSeconds")
    at = "spec.activeDeadlineSeconds"
    if new is not None and not 0 <= new <= 2**31 - 1:
        yield invalid(at, new, f"must be between 0 and {2**31 - 1}, inclusive")
    elif old is not None and new is None:
        yield invalid(at, new, "must not update from a positive integer to nil value")
    elif old is not None and new > old:
        yield invalid(at, new, "must be less than or equal to previous value")


def _tolerations(before: list[Object], after: list[Object]) -> Iterator[FieldError]:
    """Old ones stay, though their time may change; new ones may come."""

    def timeless(toleration: Object) -> Object:
        return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}

    kept = [timeless(each) for each in after]
    if any(timeless(each) not in kept for each in before):
        text = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden("spec.tolerations", text)


def ephemeral_errors(new: Object, old: Object) -> Iterator[FieldError]:
    """A write to pods/ephemeralcontainers: debug containers are only ever added."""
    before, after = old.get("spec") or {}, new.get("spec") or {}
    volumes, _ = volume_errors(after.get("volumes") or [], "spec.volumes")
    others = [each.get("name") for group in ("containers", "initContainers") for each in after.get(group) or []]
    known = {each.get("name"): each for each in after.get("ephemeralContainers") or []}
    for each in before.get("ephemeralContainers") or []:
        if each.get("name") not in known:
            text = f'existing ephemeral containers "{each.get("name")}" may not be removed\n'
            yield forbidden("spec.ephemeralContainers", text.strip())
        elif known[each["name"]] != each:
            text = f'existing ephemeral containers "{each["name"]}" may not be changed'
            yield forbidden("spec.ephemeralContainers", text)
    for index, each in enumerate(after.get("ephemeralContainers") or []):
        at = f"spec.ephemeralContainers[{index}]"
        if each in (before.get("ephemeralContainers") or []):
            continue
        if not each.get("name"):
            yield required(f"{at}.name")
        elif each["name"] in others:
            yield FieldError(f"{at}.name", "FieldValueDuplicate", each["name"])
        target = each.get("targetContainerName")
        if target and target not in others:
            yield not_found(f"{at}.targetContainerName", target)
        for field in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            if each.get(field):
                yield forbidden(f"{at}.{field}", "cannot be set for an Ephemeral Container")
        yield from one_container(each, at, volumes, host_network=False)
