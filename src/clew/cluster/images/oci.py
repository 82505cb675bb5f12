"""The documents of an image, as the OCI image specification 1.1 and `docker save` write them; values and decoding."""

import platform as host
import re
from typing import TypeVar

import msgspec

from clew.base.errors import UserError
from clew.base.value import Value
from clew.cluster.images.image import ProcessConfig

T = TypeVar("T")

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64"}
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Platform(Value, rename="lower"):
    architecture: str = ""
    os: str = ""


class Descriptor(Value, rename="camel"):
    digest: str
    media_type: str = ""
    platform: Platform | None = None
    annotations: dict[str, str] | None = None

    @property
    def is_index(self) -> bool:
        return self.media_type.endswith((".index.v1+json", ".manifest.list.v2+json"))

    def annotation(self, name: str) -> str:
        return (self.annotations or {}).get(name, "")


class Index(Value):
    manifests: tuple[Descriptor, ...]


class Manifest(Value):
    config: Descriptor
    layers: tuple[Descriptor, ...]


class SavedImage(Value, rename="pascal"):
    """One entry of `docker save`'s manifest.json."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] = ()


class _Process(Value, rename="pascal"):
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str | None = None
    user: str | None = None
    stop_signal: str | None = None
    exposed_ports: dict[str, object] | None = None


class _RootFs(Value):
    diff_ids: tuple[str, ...]


class ImageConfig(Value):
    rootfs: _RootFs
    architecture: str = ""
    os: str = ""
    config: _Process | None = None

    def process(self) -> ProcessConfig:
        """How the image's process starts, with a PATH where the image gives none."""
        said = self.config or _Process()
        env = tuple(said.env or ())
        if not any(item.startswith("PATH=") for item in env):
            env = (_DEFAULT_PATH, *env)
        return ProcessConfig(
            entrypoint=tuple(said.entrypoint or ()),
            cmd=tuple(said.cmd or ()),
            env=env,
            working_dir=said.working_dir or "/",
            user=said.user or "",
            stop_signal=said.stop_signal or "",
            exposed_ports=tuple(sorted(said.exposed_ports or {})),
        )


def decode(data: bytes, kind: type[T], what: str) -> T:
    """The document in `data`; UserError says what about `what` does not fit."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise UserError(f"{what} is not what an image archive needs: {problem}") from problem


def blob_path(digest: str) -> str:
    """Where a layout keeps the blob of a digest; UserError for text that is no digest (and could name any file)."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise UserError(f'the archive refers to "{digest}", which is not a sha256 or sha512 digest')
    return "blobs/" + digest.replace(":", "/")


def own_architecture() -> str:
    """The processor of this machine in the words of OCI, such as `amd64` or `arm64`."""
    return _ARCHITECTURES.get(host.machine(), host.machine())


def runs_here(platform: Platform | None) -> bool:
    """Whether a platform is this machine's, or not said."""
    if platform is None or not platform.architecture:
        return True
    return platform.architecture == own_architecture() and platform.os in {"", "linux"}
