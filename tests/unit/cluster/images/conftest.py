"""Image archives made for tests: layers from lists of entries, packed as an OCI layout or as docker save packs."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def configuration(layers: Sequence[bytes], architecture: str = ARCHITECTURE, **process: Any) -> bytes:
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": process,
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
        }
    ).encode()


def tar_file(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(blob), "size": len(blob)}


def oci_files(name: str, layers: Sequence[bytes], pack: Any = gzip.compress, **process: Any) -> dict[str, bytes]:
    """The files of an OCI layout with one image; `pack` compresses its layers."""
    packed = [pack(one) for one in layers]
    config = configuration(layers, **process)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": descriptor("config.v1+json", config),
            "layers": [descriptor("layer.v1.tar", one) for one in packed],
        }
    ).encode()
    annotations = {"org.opencontainers.image.ref.name": name} if name else {}
    index = {
        "schemaVersion": 2,
        "manifests": [{**descriptor("manifest.v1+json", manifest), "annotations": annotations}],
    }
    blobs = {f"blobs/sha256/{digest(one)[7:]}": one for one in (config, manifest, *packed)}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **blobs}


def docker_files(names: Sequence[str], layers: Sequence[bytes], **process: Any) -> dict[str, bytes]:
    """The files that docker save writes (the form before version 25)."""
    config = configuration(layers, **process)
    paths = [f"{digest(one)[7:]}/layer.tar" for one in layers]
    manifest = [{"Config": f"{digest(config)[7:]}.json", "RepoTags": list(names), "Layers": paths}]
    return {
        f"{digest(config)[7:]}.json": config,
        **dict(zip(paths, layers, strict=True)),
        "manifest.json": json.dumps(manifest).encode(),
    }


@pytest.fixture
def make() -> SimpleNamespace:
    """The makers above; test modules cannot import each other."""
    makers = (entry, folder, link, hard_link, layer, digest, configuration, tar_file, oci_files, docker_files)
    return SimpleNamespace(**{maker.__name__: maker for maker in makers})
