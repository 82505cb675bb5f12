"""From the name in a pod to folders a container can run on: the lab's store, then the stand-ins, then a registry.

Called by the kubelets (`ensure`) and by the commands `clew load` and `clew images`. Runs nothing and mounts nothing.
The folder belongs to one lab; several processes may use it at once (a command beside the daemon).
"""

import asyncio
from pathlib import Path

from clew.cluster.images.flights import Flights
from clew.cluster.images.image import Image, ImageError, ListedImage, image_of
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.reference import Reference, parse_reference
from clew.cluster.images.stand_ins import StandIn, stand_in_for
from clew.cluster.images.workshop import Built, Workshop


class ImageService:
    """The images of one lab, kept under `root`."""

    def __init__(self, root: Path, own: OwnProgram) -> None:
        self._workshop = Workshop(root / "stand-ins", own)
        self._workshop.sweep()
        self._flights: Flights[Image] = Flights()

    async def ensure(self, reference: str, policy: str) -> Image:
        """The image for a container; `policy` is the container's imagePullPolicy.

        ImageError with reason InvalidImageName, ErrImageNeverPull or ErrImagePull says why there is none.
        """
        wanted = parse_reference(reference)
        entry = stand_in_for(wanted)
        if entry is not None and (built := self._workshop.ready(entry)) is not None:
            return _stand_in(reference, wanted, entry, built)
        return await self._flights.share(f"{policy} {reference}", lambda: self._resolve(reference, wanted, policy))

    async def _resolve(self, text: str, wanted: Reference, policy: str) -> Image:
        entry = stand_in_for(wanted)
        if entry is not None:
            return _stand_in(text, wanted, entry, await asyncio.to_thread(self._workshop.build, entry))
        if policy == "Never":
            raise ImageError("ErrImageNeverPull", f'Container image "{text}" is not present with pull policy of Never')
        raise ImageError("ErrImagePull", f'image "{text}" is not in the lab\'s store')

    async def list(self) -> list[ListedImage]:
        """What is on the lab's disk, by reference."""
        return await asyncio.to_thread(self._workshop.listed)


def _stand_in(text: str, wanted: Reference, entry: StandIn, built: Built) -> Image:
    image = image_of(str(wanted), built.id, (built.rootfs,), built.process, built.binds)
    if entry.is_real:
        return image
    return Image(
        **{name: getattr(image, name) for name in image.__struct_fields__ if name != "stand_in"},
        stand_in=f'"{text}" is served by a stand-in: {built.made_of}',
    )
