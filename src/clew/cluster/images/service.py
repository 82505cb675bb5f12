"""From the name in a pod to folders a container can run on: the lab's store, then the stand-ins, then a registry.

Called by the kubelets (`ensure`) and by the commands `clew load` and `clew images`. Runs nothing and mounts nothing.
The folder belongs to one lab; several processes may use it at once (a command beside the daemon).
"""

import asyncio
import tempfile
from collections.abc import Collection
from pathlib import Path

import msgspec

from clew.base.errors import UserError
from clew.cluster.images.flights import Flights
from clew.cluster.images.image import Image, ImageError, ListedImage, image_of
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.reference import Reference, parse_reference
from clew.cluster.images.registry import FetchError, fetch
from clew.cluster.images.stand_ins import CATALOGUE, StandIn, stand_in_for
from clew.cluster.images.store import ImageStore
from clew.cluster.images.workshop import Built, Workshop


class ImageService:
    """The images of one lab, kept under `root`."""

    def __init__(self, root: Path, own: OwnProgram, skopeo: str = "skopeo") -> None:
        """`skopeo` is the program that fetches from registries, by name or path."""
        root = root.absolute()
        self._store = ImageStore(root)
        self._workshop = Workshop(root / "stand-ins", own)
        self._skopeo = skopeo
        self._flights: Flights[Image] = Flights()
        self._store.sweep()
        self._workshop.sweep()

    async def ensure(self, reference: str, policy: str) -> Image:
        """The image for a container; `policy` is the container's imagePullPolicy.

        `Always` asks the registry again for what came from one; what was loaded, and stand-ins, are taken as they are
        under every policy. ImageError with reason InvalidImageName, ErrImageNeverPull or ErrImagePull says why there
        is none.
        """
        wanted = parse_reference(reference)
        found = self._store.find(str(wanted))
        if found is not None and (policy != "Always" or found[1].source != "registry"):
            return found[0]
        entry = stand_in_for(wanted)
        if found is None and entry is not None and (built := self._workshop.ready(entry)) is not None:
            return _stand_in(reference, wanted, entry, built)
        return await self._flights.share(f"{policy} {reference}", lambda: self._resolve(reference, wanted, policy))

    async def load(self, path: Path) -> list[str]:
        """Keep the images of an archive under the names it gives; those names. UserError says what is wrong with it."""
        return await asyncio.to_thread(self._store.load, path)

    async def remove(self, reference: str, in_use: Collection[str] = ()) -> None:
        """Forget a loaded or fetched image; UserError if there is none, or its id is among those `in_use`."""
        try:
            wanted = str(parse_reference(reference))
        except ImageError as problem:
            raise UserError(problem.message) from problem
        if not await asyncio.to_thread(self._store.remove, wanted, in_use):
            raise UserError(f"the lab's store has no image {reference}", "see: clew images")

    async def list(self) -> list[ListedImage]:
        """What the lab can run without a registry: its store, then the catalogue (an empty id: not built yet)."""
        stored = await asyncio.to_thread(self._store.listed)
        built = {line.reference: line for line in await asyncio.to_thread(self._workshop.listed)}
        stand_ins = [built.get(entry.name) or ListedImage(entry.name, "", 0, "stand-in") for entry in CATALOGUE]
        named = [
            ListedImage(_familiar(entry), line.id, line.size, line.source)
            for entry, line in zip(CATALOGUE, stand_ins, strict=True)
        ]
        return [*stored, *named]

    async def _resolve(self, text: str, wanted: Reference, policy: str) -> Image:
        entry = stand_in_for(wanted)
        if entry is not None:
            return _stand_in(text, wanted, entry, await self._build(text, entry))
        if policy == "Never":
            raise ImageError("ErrImageNeverPull", f'Container image "{text}" is not present with pull policy of Never')
        return await self._fetch(text, wanted)

    async def _build(self, text: str, entry: StandIn) -> Built:
        try:
            return await asyncio.to_thread(self._workshop.build, entry)
        except OSError as problem:
            raise ImageError(
                "ErrImagePull", f'the stand-in for "{text}" could not be made: {problem.strerror or problem}'
            ) from problem

    async def _fetch(self, text: str, wanted: Reference) -> Image:
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=self._store.drafts()) as folder:
            archive = Path(folder, "image.tar")
            try:
                await fetch(wanted, archive, self._skopeo)
                await asyncio.to_thread(self._store.load, archive, as_reference=str(wanted), source="registry")
            except FetchError as problem:
                raise ImageError(
                    "ErrImagePull",
                    f'image "{text}" is not in the lab\'s store nor in the catalogue of stand-ins; {problem}; '
                    f"side-load it with: clew load {wanted.path.rpartition('/')[2]}.tar",
                ) from problem
            except UserError as problem:
                raise ImageError(
                    "ErrImagePull", f'image "{text}" came from its registry unusable: {problem}'
                ) from problem
        found = self._store.find(str(wanted))
        if found is None:
            raise ImageError("ErrImagePull", f'image "{text}" was removed while it was fetched')
        return found[0]


def _familiar(entry: StandIn) -> str:
    return parse_reference(entry.repositories[0]).familiar.removesuffix(":latest")


def _stand_in(text: str, wanted: Reference, entry: StandIn, built: Built) -> Image:
    sentence = "" if entry.is_real else f'"{text}" is served by a stand-in: {built.made_of}'
    made = image_of(str(wanted), built.id, (built.rootfs,), built.process, built.size, built.binds)
    return msgspec.structs.replace(made, stand_in=sentence)
