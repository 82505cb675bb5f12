"""Reading an image archive: which images it holds, under which names, and their layers as streams, digests checked.

Two forms, told apart by what is inside: an OCI layout (`index.json`, from skopeo, buildah, podman, newer docker) and
`docker save`'s (`manifest.json`). Nothing is written but temporary files
for what is compressed; unpacking is `layers`, keeping is `store`. Every problem is a UserError that names the archive.
"""

import bz2
import contextlib
import gzip
import hashlib
import lzma
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, Self, cast

from clew.base.errors import UserError
from clew.base.value import Value
from clew.cluster.images.oci import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    SavedImage,
    blob_path,
    decode,
    own_architecture,
    runs_here,
)

_LARGEST_DOCUMENT = 16 * 1024 * 1024
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
# They read and nothing else, though their types ask for whole files.
_READERS: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda source: gzip.GzipFile(fileobj=source),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_DAMAGE = (tarfile.TarError, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)


# No honest image shrinks further than this; what a few kilobytes can be made to unpack to fills any disk.
_ALLOWED, _MOST_SHRUNK = 512 << 20, 200


class Readable(Protocol):
    """All that is asked of a stream here."""

    def read(self, size: int = -1, /) -> bytes: ...


class Layer(Value):
    path: str  # inside the archive
    digest: str  # of the bytes as they are stored; empty where the archive does not say
    diff_id: str  # of the tar that they unpack to


class ArchivedImage(Value):
    names: tuple[str, ...]  # as the archive gives them, perhaps none, perhaps only a tag
    id: str  # digest of the configuration
    digest: str  # of the manifest; empty for docker save's form
    config: ImageConfig
    layers: tuple[Layer, ...]


class Archive:
    """An open archive; `read` and `stream` take paths inside it."""

    def __init__(self, path: Path, scratch: Path) -> None:
        """`scratch` is a folder for temporary files, the caller's to remove."""
        self.path = path
        self.room = _room(path)
        self._scratch = scratch
        self._closing = contextlib.ExitStack()
        self._members: dict[str, tarfile.TarInfo] = {}
        self._tar = self._open_tar()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def images(self) -> list[ArchivedImage]:
        """The archive's images for this machine."""
        tags = self._saved_names()
        if self.has("index.json"):
            index = decode(self.read("index.json"), Index, f"index.json of {self.path}")
            found = [self._image(entry, tags) for entry in self._choose(index)]
        elif self.has("manifest.json"):
            found = [self._saved_image(entry) for entry in self._saved()]
        else:
            raise UserError(
                f"{self.path} is neither an OCI image layout nor the output of docker save",
                "make one with: docker save IMAGE -o image.tar, or skopeo copy … oci-archive:image.tar:NAME",
            )
        if not found:
            raise UserError(f"{self.path} holds no image")
        return found

    @contextlib.contextmanager
    def layer(self, layer: Layer) -> Iterator[tarfile.TarFile]:
        """The layer's entries, in order, read once; its digests are checked when the block ends."""
        where = f"layer {layer.path} of {self.path}"
        with self.stream(layer.path) as blob, contextlib.ExitStack() as closing:
            stored = _Hashed(blob, layer.digest or "sha256:")
            plain = _Hashed(self._plain(stored, closing), layer.diff_id)
            try:
                with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="r|", errorlevel=1) as tar:
                    yield tar
                plain.drain()
                stored.drain()
            except _DAMAGE as problem:
                raise UserError(f"{where} is damaged: {problem}") from problem
            if layer.digest and stored.digest() != layer.digest:
                raise UserError(f"{where} is damaged: its digest is {stored.digest()}, not {layer.digest}")
            if plain.digest() != layer.diff_id:
                raise UserError(f"{where} is damaged: unpacked, its digest is {plain.digest()}, not {layer.diff_id}")

    def has(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        with self.stream(name) as file:
            data = file.read(_LARGEST_DOCUMENT + 1)
        if len(data) > _LARGEST_DOCUMENT:
            raise UserError(f"{name} of {self.path} is too large for what it should be")
        return data

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[Readable]:
        missing = UserError(f"{self.path} is incomplete: it has no {name}")
        if not self.has(name):
            raise missing
        try:
            opened = self._tar.extractfile(self._members[name])
        except (KeyError, RecursionError):  # a link to what is not there, or to itself
            raise missing from None
        if opened is None:
            raise missing
        with opened:
            yield opened

    def _open_tar(self) -> tarfile.TarFile:
        try:
            opened = self._closing.enter_context(self.path.open("rb"))
            packed = _compression(opened.read(8)) != ""
            opened.seek(0)
            file = self._spooled(opened) if packed else opened
            file.seek(0)
            tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  (the file beneath it is the stack's)
            self._members = {member.name.removeprefix("./"): member for member in tar if not member.isdir()}
        except _DAMAGE as problem:
            self._closing.close()
            raise UserError(f"{self.path} is not a readable tar archive: {problem}") from problem
        except BaseException:
            self._closing.close()
            raise
        return tar

    def _spooled(self, file: Readable) -> IO[bytes]:
        """A compressed archive unpacked to a temporary file: reading jumps about in it."""
        spool = self._closing.enter_context(self._temporary())
        with contextlib.ExitStack() as closing:
            self._copy(self._plain(file, closing), spool)
        return spool

    def _copy(self, source: Readable, target: IO[bytes]) -> None:
        """As much as can honestly be in the archive; UserError for more."""
        copied = 0
        while data := source.read(1 << 20):
            copied += len(data)
            if copied > self.room:
                raise UserError(f"{self.path} unpacks to more than {self.room >> 20} MiB; it is refused")
            target.write(data)

    def _plain(self, source: Readable, closing: contextlib.ExitStack) -> Readable:
        """The bytes of `source` without their compression, whatever it is."""
        ahead = _Peeked(source)
        kind = _compression(ahead.peek(8))
        if kind == "zstd":
            return self._unzstd(ahead, closing)
        reader = _READERS.get(kind)
        return ahead if reader is None else closing.enter_context(reader(ahead))

    def _unzstd(self, source: Readable, closing: contextlib.ExitStack) -> Readable:
        """Python learns zstd in 3.14; the program does it everywhere."""
        program = shutil.which("zstd")
        if program is None:
            raise UserError(
                f"{self.path} has parts compressed with zstd, and this machine has no zstd",
                "install it with: apt-get install zstd, or save the image with gzip",
            )
        packed = closing.enter_context(self._temporary())
        shutil.copyfileobj(source, packed, 1 << 20)
        packed.seek(0)
        plain = closing.enter_context(self._temporary())
        with subprocess.Popen([program, "-dcq"], stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
            output, errors = cast("IO[bytes]", done.stdout), cast("IO[bytes]", done.stderr)
            try:
                self._copy(output, plain)
            except BaseException:
                done.kill()
                raise
            complaint = errors.read().decode(errors="replace").strip()
        if done.returncode:
            raise UserError(f"{self.path} has a damaged part: {complaint}")
        plain.seek(0)
        return plain

    def _temporary(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._scratch)

    def _blob(self, digest: str) -> bytes:
        data = self.read(blob_path(digest))
        found = _digest_of(data, digest)
        if found != digest:
            raise UserError(f"{self.path} is damaged: the blob {digest} has the digest {found}")
        return data

    def _choose(self, index: Index) -> list[Descriptor]:
        """The descriptors of images for this machine, indexes inside the index followed, names handed down."""
        chosen: list[Descriptor] = []
        others: set[str] = set()
        for entry in index.manifests:
            if entry.annotation("vnd.docker.reference.type"):
                continue  # an attestation about an image
            if entry.is_index:
                inner = decode(self._blob(entry.digest), Index, f"index {entry.digest} of {self.path}")
                chosen += [
                    Descriptor(found.digest, found.media_type, found.platform, entry.annotations)
                    for found in self._choose(inner)
                ]
            elif runs_here(entry.platform):
                chosen.append(entry)
            elif entry.platform:
                others.add(f"{entry.platform.os}/{entry.platform.architecture}")
        if others and not chosen:
            raise UserError(
                f"{self.path} has no image for linux/{own_architecture()}, only for {', '.join(sorted(others))}"
            )
        return chosen

    def _image(self, entry: Descriptor, tags: dict[str, tuple[str, ...]]) -> ArchivedImage:
        manifest = decode(self._blob(entry.digest), Manifest, f"manifest {entry.digest} of {self.path}")
        given = (entry.annotation("io.containerd.image.name"), entry.annotation("org.opencontainers.image.ref.name"))
        names = tags.get(blob_path(manifest.config.digest)) or tuple(name for name in given if name)[:1]
        config = self._config(self._blob(manifest.config.digest), len(manifest.layers))
        layers = tuple(
            Layer(path=blob_path(layer.digest), digest=layer.digest, diff_id=diff_id)
            for layer, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True)
        )
        return ArchivedImage(names=names, id=manifest.config.digest, digest=entry.digest, config=config, layers=layers)

    def _saved_image(self, entry: SavedImage) -> ArchivedImage:
        data = self.read(entry.config)
        image_id = _digest_of(data, "sha256:")
        named = entry.config.removesuffix(".json").rpartition("/")[2]
        if len(named) == 64 and named != image_id.removeprefix("sha256:"):
            raise UserError(f"{self.path} is damaged: the configuration {entry.config} has the digest {image_id}")
        config = self._config(data, len(entry.layers))
        layers = tuple(
            Layer(path=path, digest="", diff_id=diff_id)
            for path, diff_id in zip(entry.layers, config.rootfs.diff_ids, strict=True)
        )
        return ArchivedImage(names=_full(entry.repo_tags), id=image_id, digest="", config=config, layers=layers)

    def _config(self, data: bytes, layers: int) -> ImageConfig:
        config = decode(data, ImageConfig, f"an image configuration of {self.path}")
        if len(config.rootfs.diff_ids) != layers:
            raise UserError(f"{self.path} has an image of {layers} layers that lists {len(config.rootfs.diff_ids)}")
        for diff_id in config.rootfs.diff_ids:
            blob_path(diff_id)
        if config.os not in {"", "linux"} or config.architecture not in {"", own_architecture()}:
            raise UserError(
                f"{self.path} has an image for {config.os}/{config.architecture}; "
                f"this machine runs linux/{own_architecture()}"
            )
        return config

    def _saved(self) -> tuple[SavedImage, ...]:
        return decode(self.read("manifest.json"), tuple[SavedImage, ...], f"manifest.json of {self.path}")

    def _saved_names(self) -> dict[str, tuple[str, ...]]:
        """Names by configuration path, from the manifest.json that newer docker writes beside an OCI layout."""
        if not self.has("manifest.json"):
            return {}
        return {entry.config: _full(entry.repo_tags) for entry in self._saved() if entry.repo_tags}


class _Hashed:
    """A stream that hashes what is read from it."""

    def __init__(self, source: Readable, like: str) -> None:
        self._source = source
        self._algorithm = like.partition(":")[0]
        self._hash = hashlib.new(self._algorithm)

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass

    def digest(self) -> str:
        return f"{self._algorithm}:{self._hash.hexdigest()}"


class _Peeked:
    """A stream whose first bytes can be looked at."""

    def __init__(self, source: Readable) -> None:
        self._read: Callable[[int], bytes] = source.read
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size and (more := self._read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = -1) -> bytes:
        if not self._ahead:
            return self._read(size)
        if size < 0:
            data, self._ahead = self._ahead, b""
            return data + self._read(-1)
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data


def _room(path: Path) -> int:
    """Bytes that the archive may unpack to."""
    try:
        return _ALLOWED + _MOST_SHRUNK * path.stat().st_size
    except OSError:
        return 0  # it cannot be opened either, which says why


def _full(tags: tuple[str, ...] | None) -> tuple[str, ...]:
    """Docker's tags are names; one without a tag of its own means the latest."""
    return tuple(tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest" for tag in tags or ())


def _compression(start: bytes) -> str:
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")


def _digest_of(data: bytes, like: str) -> str:
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
