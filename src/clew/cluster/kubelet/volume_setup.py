"""Makes a pod's volumes on the node and keeps those that come from objects up to date, through the supervisor."""

import asyncio
from collections.abc import Mapping
from fractions import Fraction

from clew.api.objects import Object
from clew.api.quantity import parse
from clew.cluster.kubelet import volumes
from clew.cluster.kubelet.objects import ObjectCache, byte_data
from clew.cluster.kubelet.tokens import Tokens
from clew.cluster.kubelet.volumes import FILES, FileEntry, Files, MountError
from clew.cluster.runtime.errors import NodeError, NodeLostError
from clew.cluster.runtime.handle import NodeHandle
from clew.watch.errors import ApiError


class VolumeSetup:
    """For all pods of one node; `allocatable` is what resourceFieldRef falls back on."""

    def __init__(
        self, handle: NodeHandle, objects: ObjectCache, tokens: Tokens, allocatable: Mapping[str, Fraction | int]
    ) -> None:
        self._handle = handle
        self._objects = objects
        self._tokens = tokens
        self._allocatable = allocatable

    async def make(self, pod: Object) -> None:
        """All of the pod's volumes. MountError says which cannot be had, and why."""
        await asyncio.gather(*(self._one(pod, volume) for volume in pod["spec"].get("volumes") or ()))

    def forget(self) -> None:
        """What the next refresh shows is not older than this moment."""
        self._objects.forget()

    async def refresh(self, pod: Object) -> None:
        """Those whose content may have changed."""
        listed = [each for each in pod["spec"].get("volumes") or () if volumes.kind_of(each) in FILES]
        await asyncio.gather(*(self._one(pod, volume) for volume in listed))

    @staticmethod
    def changeable(pod: Object) -> bool:
        return any(volumes.kind_of(each) in FILES for each in pod["spec"].get("volumes") or ())

    async def _one(self, pod: Object, volume: Object) -> None:
        kind, uid = volumes.kind_of(volume), pod["metadata"]["uid"]
        path = volumes.place(uid, volume)
        group = volumes.file_group(pod)
        try:
            if kind == "hostPath":
                await self._handle.ask("host_path", path=path, type=volume["hostPath"].get("type") or "")
            elif kind == "emptyDir":
                await self._handle.ask("folder", path=path, mode=0o777, group=group, memory=_memory(volume))
            else:
                files = await self._files(pod, volume)
                await self._handle.ask("folder", path=path, mode=0o755, group=None, memory=None)
                await self._handle.ask(
                    "files", path=path, files={name: entry.wire() for name, entry in files.items()}, group=group
                )
        except NodeLostError:
            raise
        except (NodeError, ApiError) as problem:
            raise MountError(volume["name"], problem.message) from problem

    async def _files(self, pod: Object, volume: Object) -> Files:
        found: Files = {}
        parts, mode = volumes.sources(volume)
        for part in parts:
            found |= await self._part(pod, volume["name"], part, mode)
        return found

    async def _part(self, pod: Object, volume: str, part: Object, mode: int) -> Files:
        if part.get("downwardAPI") is not None:
            return volumes.downward(pod, part["downwardAPI"].get("items") or [], mode, self._allocatable)
        if part.get("serviceAccountToken"):
            source = part["serviceAccountToken"]
            token = await self._tokens.get(pod, source)
            owner = volumes.token_owner(pod)
            return {source["path"]: FileEntry(token.encode(), mode if owner < 0 else 0o600, owner)}
        for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            if part.get(field) is not None:
                return await self._object(pod, volume, kind, part[field], mode)
        raise MountError(volume, f"no kind of source that is known among {', '.join(part) or 'nothing'}")

    async def _object(self, pod: Object, volume: str, kind: str, reference: Object, mode: int) -> Files:
        space, name = pod["metadata"]["namespace"], reference.get("name") or ""
        obj = await self._objects.get(kind, space, name)
        if obj is None:
            if reference.get("optional"):
                return {}
            raise MountError(volume, f'{kind.lower()} "{name}" not found')
        about = f"{kind.lower()} {space}/{name}"
        return volumes.chosen(volume, about, byte_data(kind, obj), reference, mode)


def _memory(volume: Object) -> int | None:
    """Bytes of a tmpfs, 0 for no limit of its own; None for the disk."""
    body = volume.get("emptyDir") or {}
    if body.get("medium") != "Memory":
        return None
    return int(parse(body["sizeLimit"])) if body.get("sizeLimit") else 0
