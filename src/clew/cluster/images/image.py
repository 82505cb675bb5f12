"""What an image is to a kubelet: folders to stack, a process to start. Values only; nothing is read or mounted here."""

from typing import Literal

from clew.base.value import Value

ImageReason = Literal["ErrImagePull", "ErrImageNeverPull", "InvalidImageName"]


class Bind(Value):
    """A folder of the machine, shown read-only inside the container at `target`."""

    source: str
    target: str


class ProcessConfig(Value):
    """The part of an OCI image configuration that says how its process starts."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # "NAME=value"
    working_dir: str = "/"
    user: str = ""  # "", "uid", "name", "uid:gid", "name:group"
    stop_signal: str = ""  # "SIGQUIT"; empty means SIGTERM
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"


class Image(Value):
    """An image ready to run: `lowers` are read-only folders for overlayfs, topmost first, `binds` go over them."""

    reference: str  # normalised: "docker.io/library/nginx:latest"
    id: str  # "sha256:…" over the content
    lowers: tuple[str, ...]
    binds: tuple[Bind, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = "/"
    user: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    stand_in: str = ""  # the sentence for the pod's Event when this is not the image that was asked for
    size: int = 0  # bytes on the lab's own disk, binds not counted


class ListedImage(Value):
    """A line of `clew images`."""

    reference: str
    id: str
    size: int  # bytes on the lab's own disk, binds not counted
    source: str  # "loaded", "registry", "stand-in"


class ImageError(Exception):
    """An image cannot be had; `reason` is the container's waiting reason, `message` the sentence beside it."""

    def __init__(self, reason: ImageReason, message: str) -> None:
        super().__init__(message)
        self.reason: ImageReason = reason
        self.message = message


def image_of(
    reference: str, image_id: str, lowers: tuple[str, ...], process: ProcessConfig, size: int,
    binds: tuple[Bind, ...] = (),
) -> Image:  # fmt: skip
    """The image whose root file system is `lowers` and whose process is `process`."""
    return Image(
        reference=reference,
        id=image_id,
        lowers=lowers,
        binds=binds,
        entrypoint=process.entrypoint,
        cmd=process.cmd,
        env=process.env,
        working_dir=process.working_dir,
        user=process.user,
        stop_signal=process.stop_signal,
        exposed_ports=process.exposed_ports,
        size=size,
    )
