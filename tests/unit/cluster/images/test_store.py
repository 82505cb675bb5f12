"""Archives into the store and out again as images."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clew.base.errors import UserError
from clew.cluster.images import archive
from clew.cluster.images.layers import RootFolder
from clew.cluster.images.store import ImageStore


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


@pytest.fixture
def layers(make: SimpleNamespace) -> list[bytes]:
    return [
        make.layer(make.entry("bin/app", b"v1", mode=0o755), make.entry("etc/old", b"x")),
        make.layer(make.entry("bin/app", b"v2", mode=0o755), make.entry("etc/.wh.old")),
    ]


def content(store: ImageStore, reference: str) -> dict[str, bytes]:
    found = store.find(reference)
    assert found is not None
    root = Path(found[0].lowers[0])
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def leftovers(store: ImageStore) -> list[str]:
    return [path.name for path in store.root.iterdir() if path.name.startswith(".")]


PROCESS = {
    "Entrypoint": ["/bin/app"],
    "Cmd": ["-v"],
    "Env": ["A=1"],
    "WorkingDir": "/srv",
    "User": "101:102",
    "StopSignal": "SIGQUIT",
    "ExposedPorts": {"80/tcp": {}},
}


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_a_round_trip(store: ImageStore, make: SimpleNamespace, layers: list[bytes], tmp_path: Path, form: str) -> None:
    files = make.oci_files if form == "oci" else make.docker_files
    name = "example/app:1" if form == "oci" else ["example/app:1"]
    archive = make.tar_file(tmp_path / "app.tar", files(name, layers, **PROCESS))
    names = store.load(archive)
    assert names[0] == "docker.io/example/app:1"
    assert content(store, "docker.io/example/app:1") == {"bin/app": b"v2"}
    image, record = store.find("docker.io/example/app:1") or pytest.fail("gone")
    assert (image.entrypoint, image.cmd, image.working_dir) == (("/bin/app",), ("-v",), "/srv")
    assert (image.user, image.stop_signal, image.exposed_ports) == ("101:102", "SIGQUIT", ("80/tcp",))
    assert image.env[1:] == ("A=1",)
    assert image.env[0].startswith("PATH=")
    assert image.id == make.digest(make.configuration(layers, **PROCESS))
    assert record.source == "loaded"
    assert not leftovers(store)
    assert next((line.reference, line.source) for line in store.listed()) == ("example/app:1", "loaded")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["none", "gz", "bz2", "xz"])
def test_every_compression(
    store: ImageStore, make: SimpleNamespace, layers: list[bytes], tmp_path: Path, pack: Any
) -> None:
    store.load(make.tar_file(tmp_path / "app.tar", make.oci_files("app:1", layers, pack=pack)))
    assert content(store, "docker.io/library/app:1") == {"bin/app": b"v2"}


def test_zstd(store: ImageStore, make: SimpleNamespace, layers: list[bytes], tmp_path: Path) -> None:
    def pack(data: bytes) -> bytes:
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout

    store.load(make.tar_file(tmp_path / "app.tar", make.oci_files("app:1", layers, pack=pack)))
    assert content(store, "docker.io/library/app:1") == {"bin/app": b"v2"}


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_an_archive_compressed_as_a_whole(
    store: ImageStore, make: SimpleNamespace, layers: list[bytes], tmp_path: Path, mode: str
) -> None:
    store.load(make.tar_file(tmp_path / "app.tar.x", make.docker_files(["app:1"], layers), mode))
    assert content(store, "docker.io/library/app:1") == {"bin/app": b"v2"}


@pytest.mark.parametrize(("given", "name"), [("", "my-app:latest"), ("v3", "my-app:v3"), ("q.io/a:2", "q.io/a:2")])
def test_a_name_that_is_missing_comes_from_the_file(
    store: ImageStore, make: SimpleNamespace, layers: list[bytes], tmp_path: Path, given: str, name: str
) -> None:
    store.load(make.tar_file(tmp_path / "My-App.tar", make.oci_files(given, layers)))
    assert next(line.reference for line in store.listed()) == name


def test_a_manifest_digest_names_the_image_too(
    store: ImageStore, make: SimpleNamespace, layers: list[bytes], tmp_path: Path
) -> None:
    names = store.load(make.tar_file(tmp_path / "app.tar", make.oci_files("app:1", layers)))
    assert names[1].startswith("docker.io/library/app@sha256:")
    assert content(store, names[1]) == {"bin/app": b"v2"}


def test_the_layout_of_newer_docker_takes_its_names_from_manifest_json(
    store: ImageStore, make: SimpleNamespace, layers: list[bytes], tmp_path: Path
) -> None:
    files = make.oci_files("1", layers)
    config = "blobs/sha256/" + make.digest(make.configuration(layers))[7:]
    files["manifest.json"] = json.dumps([{"Config": config, "RepoTags": ["team/app:1"], "Layers": []}]).encode()
    assert store.load(make.tar_file(tmp_path / "x.tar", files))[0] == "docker.io/team/app:1"


def test_loading_again_moves_the_name(store: ImageStore, make: SimpleNamespace, tmp_path: Path) -> None:
    for version in (b"1", b"2", b"2"):
        one = make.layer(make.entry("v", version))
        store.load(make.tar_file(tmp_path / "app.tar", make.docker_files(["app"], [one])))
    assert content(store, "docker.io/library/app:latest") == {"v": b"2"}


def test_removing_the_last_name_removes_the_image(store: ImageStore, make: SimpleNamespace, tmp_path: Path) -> None:
    one = make.layer(make.entry("v", b"1"))
    store.load(make.tar_file(tmp_path / "app.tar", make.docker_files(["a:1", "b:1"], [one])))
    found = store.find("docker.io/library/a:1") or pytest.fail("not loaded")
    assert store.remove("docker.io/library/a:1", [found[0].id])  # b still names it
    assert Path(found[0].lowers[0]).is_dir()
    with pytest.raises(UserError, match="in use"):
        store.remove("docker.io/library/b:1", [found[0].id])
    assert store.remove("docker.io/library/b:1")
    assert not Path(found[0].lowers[0]).exists()
    assert not store.remove("docker.io/library/b:1")


def damaged(make: SimpleNamespace, layers: list[bytes]) -> dict[str, tuple[dict[str, bytes], str]]:
    """Archives that are wrong in one way each, and what is said about it."""
    good = make.oci_files("app:1", layers, pack=bytes)
    blob = {digest: f"blobs/sha256/{make.digest(digest)[7:]}" for digest in layers}
    docker = make.docker_files(["app:1"], layers)
    foreign = make.docker_files(["app:1"], layers)
    foreign_config = make.configuration(layers, "s390x")
    foreign["manifest.json"] = json.dumps([{"Config": "c.json", "Layers": [k for k in foreign if "/" in k]}]).encode()
    index = json.loads(good["index.json"])
    evil = json.loads(good["index.json"])
    evil["manifests"][0]["digest"] = "../../etc/passwd"
    other = json.loads(good["index.json"])
    other["manifests"][0]["platform"] = {"os": "linux", "architecture": "s390x"}
    manifest = "blobs/sha256/" + index["manifests"][0]["digest"][7:]
    short = make.docker_files(["app:1"], layers)
    listed = json.loads(short["manifest.json"])
    listed[0]["Layers"].pop()
    return {
        "a changed layer": ({**good, blob[layers[0]]: layers[0] + b"\0"}, "is damaged: its digest is"),
        "a swapped layer": ({**docker, f"{make.digest(layers[0])[7:]}/layer.tar": layers[1]}, "is damaged: unpacked"),
        "a missing layer": ({k: v for k, v in good.items() if k != blob[layers[1]]}, "is incomplete: it has no"),
        "a changed manifest": ({**good, manifest: good[manifest] + b" "}, "is damaged: the blob"),
        "a digest that is a path": ({**good, "index.json": json.dumps(evil).encode()}, "not a sha256"),
        "another processor's index": ({**good, "index.json": json.dumps(other).encode()}, "only for linux/s390x"),
        "another processor's image": ({**foreign, "c.json": foreign_config}, "an image for linux/s390x"),
        "no JSON": ({**good, "index.json": b"{"}, "index.json of"),
        "JSON of another kind": ({**good, "index.json": b'{"manifests": 1}'}, r"\$.manifests"),
        "no image": ({"index.json": b'{"manifests": []}'}, "holds no image"),
        "something else": ({"readme": b"hello"}, "neither an OCI image layout nor"),
        "a layer too few": ({**short, "manifest.json": json.dumps(listed).encode()}, "of 1 layers that lists 2"),
        "a bad name": (make.docker_files(["App:1"], layers), "must be lowercase"),
    }


DAMAGES = [
    "a changed layer", "a swapped layer", "a missing layer", "a changed manifest", "a digest that is a path",
    "another processor's index", "another processor's image", "no JSON", "JSON of another kind", "no image",
    "something else", "a layer too few", "a bad name",
]  # fmt: skip


def test_every_damage_is_tried(make: SimpleNamespace, layers: list[bytes]) -> None:
    assert list(damaged(make, layers)) == DAMAGES


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_archive_leaves_nothing(
    store: ImageStore, make: SimpleNamespace, layers: list[bytes], tmp_path: Path, name: str
) -> None:
    files, message = damaged(make, layers)[name]
    with pytest.raises(UserError, match=message):
        store.load(make.tar_file(tmp_path / "bad.tar", files))
    assert store.listed() == []
    assert not leftovers(store)
    assert not list(store.root.glob("images/*"))


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\x1f\x8bnot gzip either", b"\0" * 10240])
def test_what_is_no_archive(store: ImageStore, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(UserError, match=r"x\.tar"):
        store.load(tmp_path / "x.tar")


def test_a_file_that_is_not_there(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.tar could not be loaded: No such file"):
        store.load(tmp_path / "none.tar")


def test_an_archive_whose_member_links_to_itself(store: ImageStore, make: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "loop.tar"
    path.write_bytes(make.layer(make.link("manifest.json", "manifest.json")))
    with pytest.raises(UserError, match="is incomplete"):
        store.load(path)


def claimed(name: str, size: int) -> bytes:
    """A tar whose one file is said to be that large, and then is not: what counts is that nobody believes it first."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf() + b"\0" * 10240


def test_a_bomb_is_refused_by_name_and_nothing_is_written(
    store: ImageStore, make: SimpleNamespace, tmp_path: Path
) -> None:
    bomb = claimed("zeros", 40 << 30)
    with pytest.raises(UserError, match=r'the entry "zeros" would make it more than 51\d MiB; the image is refused'):
        store.load(make.tar_file(tmp_path / "bomb.tar", make.docker_files(["bomb"], [bomb])))
    many = make.layer(*(make.entry(f"f{number}") for number in range(100)))
    tree = RootFolder(tmp_path / "many", "many.tar", 50 * 4096)
    tree.root.mkdir()
    with tarfile.open(fileobj=io.BytesIO(many)) as layer, pytest.raises(UserError, match='"f50" would make it more'):
        tree.apply(layer)
    assert not list(store.root.glob("**/zeros"))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress], ids=["gz", "xz"])
def test_an_archive_that_unpacks_without_end_is_refused(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    """Whole archives may be compressed too: they are unpacked to a file first, which must not fill the disk."""
    monkeypatch.setattr(archive, "_ALLOWED", 1 << 20)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(pack(bytes(8 << 20)))
    with pytest.raises(UserError, match=r"bomb.tar.gz unpacks to more than \d+ MiB; it is refused"):
        store.load(path)


def test_a_hostile_layer_leaves_nothing(store: ImageStore, make: SimpleNamespace, tmp_path: Path) -> None:
    bad = make.layer(make.entry("fine", b"x"), make.entry("../evil", b"x"))
    with pytest.raises(UserError, match=r'the entry "\.\./evil" leaves'):
        store.load(make.tar_file(tmp_path / "bad.tar", make.docker_files(["bad"], [bad])))
    assert not list(store.root.glob("**/fine"))
    assert not list(tmp_path.glob("**/evil"))


def test_a_dead_processs_draft_is_swept_and_a_living_ones_is_not(store: ImageStore) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    for pid in (ended.pid, 1):
        (store.root / f".draft-{pid}-x").mkdir(parents=True)
    store.sweep()
    assert leftovers(store) == [".draft-1-x"]
