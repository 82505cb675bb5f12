"""Clew's own parts as objects of a lab's cluster: applied when they are not as the lab's shape makes them.

The ConfigMap `clew-manifests` is the record: which content of each object was applied last, and for which shape. What a
user changes later stays, until the object's own content becomes another one, or the user asks by `clew up` for what the
agents' configuration says no longer. Agents that run follow their ConfigMap where they can; where they have to begin
anew, the DaemonSet's template says so (agent_start), so that a change which was interrupted goes on where it stood.
Used by the lab's daemon.
"""

import asyncio
import contextlib
import hashlib
from typing import Any

import msgspec

from clew.api.kinds import CONFIG_MAP, POD
from clew.api.objects import Object, key_of, name_of
from clew.app import ipsec_secret, manifest_objects
from clew.app.lab_spec import LabSpec
from clew.app.manifest_objects import AGENT, ClusterFacts
from clew.app.network_config import POOLS
from clew.base.value import Value
from clew.watch.client import APPLY, Client
from clew.watch.errors import ApiError

_NAME, _SPACE = "clew-manifests", "kube-system"
_CONFIGURATION, _AGENTS = f"ConfigMap {AGENT}", f"DaemonSet {AGENT}"
_TOUCHED = "clew.dev/configuration"  # a pod's annotation: its kubelet looks at the ConfigMap at once, not once a minute


class Record(Value):
    """What was applied: digests by object, and the shape (`shape_of`) whose objects these are, once all of them are."""

    objects: dict[str, str] = msgspec.field(default_factory=dict)
    shape: str = ""
    edition: int = 0


def shape_of(spec: LabSpec) -> str:
    return _digest(spec)


async def read_record(client: Client) -> Record:
    """Nothing where nothing was applied yet, or by another version of Clew. ApiError."""
    try:
        found: Object = await client.get(CONFIG_MAP, _NAME, _SPACE)
        return msgspec.json.decode(found.get("data", {}).get("applied", "{}"), type=Record)
    except ApiError as error:
        if not error.not_found:
            raise
    except msgspec.MsgspecError:
        pass
    return Record()


class Manifests:
    """Of one lab; one application at a time."""

    def __init__(self, api: tuple[str, int]) -> None:
        self._api = api
        self._lock = asyncio.Lock()

    async def apply(self, client: Client, spec: LabSpec, away: int, *, insist: bool = False) -> list[str]:
        """The objects that had to be applied, as `ConfigMap clew-agent`. ApiError; then the next call goes on.

        `away`: nodes that are off, for which agents elsewhere are not to wait. `insist`: the agents' configuration is
        to be this one even if somebody edited it.
        """
        async with self._lock:
            if spec.network.encapsulation == "ipsec":
                await ipsec_secret.ensure(client, spec.network.ipsec.secret)
            record = await read_record(client)
            wanted = await asyncio.to_thread(self._objects, spec, record.edition)
            if insist and await _edited(client, record, wanted):
                record = Record({**record.objects, _CONFIGURATION: ""}, "", record.edition + 1)
                await _write(client, record)
                wanted = await asyncio.to_thread(self._objects, spec, record.edition)
            changed = [title for title, obj in wanted.items() if record.objects.get(title) != _digest(obj)]
            for title in changed:
                await _apply(client, _rolling(wanted[title], 1 + away) if title == _AGENTS else wanted[title])
            now = Record({title: _digest(obj) for title, obj in wanted.items()}, shape_of(spec), record.edition)
            if now != record:
                await _write(client, now)
            if _CONFIGURATION in changed:
                await _touch(client, now.objects[_CONFIGURATION])
            return changed

    def _objects(self, spec: LabSpec, edition: int) -> dict[str, Object]:
        facts = ClusterFacts(
            spec.pod_cidrs, spec.service_cidrs, *self._api, proxy=spec.proxy,
            network=spec.network, dns=spec.dns, edition=edition,
            pools=spec.network.ipam.type == POOLS,  # their rules load the CEL library
        )  # fmt: skip
        return {f"{each['kind']} {name_of(each)}": each for each in manifest_objects.objects(facts)}


async def _edited(client: Client, record: Record, wanted: dict[str, Object]) -> bool:
    """Whether agents are told something else than was applied."""
    if record.objects.get(_CONFIGURATION) != _digest(wanted[_CONFIGURATION]):
        return False  # it is to be applied anyway
    try:
        found: Object = await client.get(CONFIG_MAP, AGENT, _SPACE)
    except ApiError as error:
        if not error.not_found:
            raise
        return True
    return bool(found.get("data") != wanted[_CONFIGURATION]["data"])


def _rolling(daemon_set: Object, at_once: int) -> Object:
    """So many nodes may be without an agent while others begin anew."""
    spec = daemon_set["spec"]
    return {**daemon_set, "spec": {**spec, "updateStrategy": {"rollingUpdate": {"maxUnavailable": at_once}}}}


async def _apply(client: Client, obj: Object) -> None:
    namespace, name = key_of(obj)
    kind = manifest_objects.kind_of(obj)
    await client.patch(kind, name, obj, namespace, content_type=APPLY, field_manager="clew", force=True)


async def _write(client: Client, record: Record) -> None:
    await _apply(client, {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _NAME, "namespace": _SPACE},
        "data": {"applied": msgspec.json.encode(record).decode()},
    })  # fmt: skip


async def _touch(client: Client, digest: str) -> None:
    """Agents that run; one that is being replaced may have gone meanwhile."""
    touched: Object = {"metadata": {"annotations": {_TOUCHED: digest}}}

    async def touch(pod: Object) -> None:
        with contextlib.suppress(ApiError):
            await client.patch(POD, name_of(pod), touched, _SPACE)

    agents = await client.list(POD, _SPACE, labels=f"k8s-app={AGENT}")
    await asyncio.gather(*(touch(each) for each in agents.items))


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()
