"""Owner references, and who owns what a selector matches: adopt what nobody controls, let go what no longer matches.

`claim` is pure; `Ownership` writes what it decides. Used by ReplicaSets, Deployments and DaemonSets.
"""

from collections.abc import Iterable

from clew.api.kinds import Kind
from clew.api.objects import Object, is_deleting, key_of, labels, metadata, owner_of, uid_of
from clew.api.selectors import LabelSelector
from clew.base.value import Value
from clew.watch.client import Client
from clew.watch.errors import ApiError


class Claim(Value):
    owned: list[Object]  # already ours, and matching
    adopt: list[Object]  # nobody's, and matching
    release: list[Object]  # ours, and no longer matching


def claim(owner: Object, selector: LabelSelector, candidates: Iterable[Object]) -> Claim:
    """What of `candidates` belongs to `owner`, which adopts and releases nothing once it is being deleted."""
    uid, dying = uid_of(owner), is_deleting(owner)
    owned: list[Object] = []
    adopt: list[Object] = []
    release: list[Object] = []
    for obj in candidates:
        controller = owner_of(obj)
        matches = selector.matches(labels(obj))
        if controller is not None:
            if controller.get("uid") != uid:
                continue
            if matches or dying:
                owned.append(obj)
            else:
                release.append(obj)
        elif matches and not dying and not is_deleting(obj):
            adopt.append(obj)
    return Claim(owned, adopt, release)


def controller_reference(kind: Kind, owner: Object) -> Object:
    """The ownerReference of what `owner` controls."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": key_of(owner)[1],
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


async def settle(client: Client, owner_kind: Kind, owner: Object, kind: Kind, claimed: Claim) -> list[Object]:
    """Write adoptions and releases; what the owner has afterwards. Raises ApiError.

    The owner is asked for again before it adopts: a cache that has not heard of its deletion must not bring it heirs.
    """
    owned = list(claimed.owned)
    if claimed.adopt and await _still_wants(client, owner_kind, owner):
        for obj in claimed.adopt:
            references = [*(metadata(obj).get("ownerReferences") or ()), controller_reference(owner_kind, owner)]
            if (adopted := await _set_owners(client, kind, obj, references)) is not None:
                owned.append(adopted)
    for obj in claimed.release:
        references = [each for each in metadata(obj)["ownerReferences"] if each.get("uid") != uid_of(owner)]
        await _set_owners(client, kind, obj, references)
    return owned


async def _still_wants(client: Client, kind: Kind, owner: Object) -> bool:
    try:
        fresh = await client.get(kind, key_of(owner)[1], key_of(owner)[0])
    except ApiError as error:
        if error.not_found:
            return False
        raise
    return uid_of(fresh) == uid_of(owner) and not is_deleting(fresh)


async def _set_owners(client: Client, kind: Kind, obj: Object, references: list[Object]) -> Object | None:
    namespace, name = key_of(obj)
    meta = metadata(obj)
    body = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "ownerReferences": references}}
    try:
        return await client.patch(kind, name, body, namespace)
    except ApiError as error:
        if error.not_found:
            return None
        raise
