"""clew load, clew images."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clew.cli.options import lab_name, output, show

if TYPE_CHECKING:
    from clew.cluster.images import ImageService


def _service(name: str) -> "ImageService":
    from clew.app.lab_record import image_service  # noqa: PLC0415 - loaded when called
    from clew.app.lab_state import need_root  # noqa: PLC0415 - likewise

    need_root()
    return image_service(name)


@click.command(short_help="Load an image archive into a lab.")
@lab_name
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False))
def load(name: str, archive: Path) -> None:
    """Load an OCI or docker archive (a tar file) into a lab's store."""
    for reference in asyncio.run(_service(name).load(archive)):
        click.echo(f"loaded {reference}")


@click.command(short_help="List a lab's images.")
@lab_name
@output
def images(name: str, output: str) -> None:
    """List what the lab can run without a registry: loaded images and stand-ins."""
    listed = asyncio.run(_service(name).list())
    rows = [{"image": each.reference, "id": each.id[:19], "size": each.size, "source": each.source} for each in listed]
    show(rows, output)
