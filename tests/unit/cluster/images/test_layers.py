"""Layers applied to a folder: content, whiteouts, and every way out of the root that an archive can try."""

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.base.errors import UserError
from clew.cluster.images.layers import RootFolder

Entries = tuple[tuple[tarfile.TarInfo, bytes], ...]


@pytest.fixture
def apply(tmp_path: Path, make: SimpleNamespace) -> Callable[..., Path]:
    """Apply layers, each a tuple of entries, to a new root beside a folder `victim`."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "secret").write_text("untouched")
    root = tmp_path / "root"
    root.mkdir()

    def run(*layers: Entries) -> Path:
        tree = RootFolder(root, "hostile.tar", 1 << 30)
        for one in layers:
            with tarfile.open(fileobj=io.BytesIO(make.layer(*one)), mode="r|") as tar:
                tree.apply(tar)
        tree.finish()
        return root

    return run


def test_files_folders_links_and_modes(apply: Callable[..., Path], make: SimpleNamespace) -> None:
    root = apply(
        (
            make.folder("./"),
            make.folder("bin"),
            make.entry("bin/su", b"su", mode=0o4755),
            make.link("bin/sh", "su"),
            make.hard_link("bin/login", "bin/su"),
            make.link("away", "/etc/passwd"),
            make.link("up", "../../../.."),
            make.entry("implied/parent/file", b"x", mtime=1000),
            make.entry("pipe", type=tarfile.FIFOTYPE),
            make.entry("dev/sda", type=tarfile.BLKTYPE, devmajor=8),
            make.entry("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        )
    )
    assert (root / "bin/su").stat().st_mode & 0o7777 == 0o4755
    assert (root / "bin/login").samefile(root / "bin/su")
    assert str((root / "away").readlink()) == "/etc/passwd"
    assert (root / "implied/parent/file").stat().st_mtime == 1000
    assert (root / "pipe").is_fifo()
    assert list((root / "dev").iterdir()) == []


def test_a_read_only_folder_can_still_be_filled(apply: Callable[..., Path], make: SimpleNamespace) -> None:
    root = apply((make.folder("d", 0o555), make.entry("d/f", b"1")), (make.entry("d/g", b"2"),))
    assert (root / "d").stat().st_mode & 0o777 == 0o555
    assert sorted(child.name for child in (root / "d").iterdir()) == ["f", "g"]


def test_the_images_own_links_are_followed_inside_it(apply: Callable[..., Path], make: SimpleNamespace) -> None:
    """A merged /usr, and a /var/run that is absolute: both usual, both inside."""
    root = apply(
        (make.folder("usr/bin"), make.link("bin", "usr/bin"), make.folder("run"), make.folder("var")),
        (make.link("var/run", "/run"), make.entry("bin/tool", b"t"), make.entry("var/run/pid", b"1")),
    )
    assert (root / "usr/bin/tool").read_bytes() == b"t"
    assert (root / "run/pid").read_bytes() == b"1"


def test_a_whiteout_removes_what_earlier_layers_put_there(apply: Callable[..., Path], make: SimpleNamespace) -> None:
    root = apply(
        (make.entry("a/1", b"1"), make.entry("a/2", b"2"), make.entry("b/c/d", b"3")),
        (make.entry("a/.wh.1"), make.entry(".wh.b"), make.entry("a/.wh.never-was"), make.entry("a/.wh..wh.plnk")),
    )
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*")) == ["a", "a/2"]


@pytest.mark.parametrize("marker_first", [True, False])
def test_an_opaque_folder_keeps_its_own_layer_only(
    apply: Callable[..., Path], make: SimpleNamespace, *, marker_first: bool
) -> None:
    mine = [make.folder("a"), make.folder("a/both"), make.entry("a/both/new", b"n"), make.entry("a/new", b"n")]
    opaque = make.entry("a/.wh..wh..opq")
    second = [opaque, *mine] if marker_first else [*mine, opaque]
    root = apply((make.entry("a/old", b"o"), make.entry("a/both/old", b"o")), tuple(second))
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*")) == ["a", "a/both", "a/both/new", "a/new"]


def test_a_whiteout_spares_its_own_layer(apply: Callable[..., Path], make: SimpleNamespace) -> None:
    root = apply((make.entry("f", b"old"),), (make.entry("f", b"new"), make.entry(".wh.f")))
    assert (root / "f").read_bytes() == b"new"


def test_kinds_replace_each_other(apply: Callable[..., Path], make: SimpleNamespace) -> None:
    root = apply(
        (make.entry("x", b"file"), make.entry("y/z", b"f"), make.link("l", "y"), make.entry("h", b"1")),
        (
            make.hard_link("h2", "h"),
            make.folder("x"),
            make.entry("x/in", b"1"),
            make.entry("y", b"f"),
            make.folder("l"),
        ),
        (make.entry("h", b"changed"),),
    )
    assert (root / "x/in").exists()
    assert (root / "y").is_file()
    assert not (root / "l").is_symlink()
    assert (root / "h2").read_bytes() == b"1"  # a rewritten file does not write through to its other name


def cases(make: SimpleNamespace, victim: str) -> dict[str, Entries]:
    up = "../" * 20
    return {
        "absolute": (make.entry("/tmp/evil", b"x"),),
        "dotdot": (make.entry("a/../../victim/evil", b"x"),),
        "dotdot inside": (make.folder("a"), make.entry("a/../evil", b"x")),
        "relative link": (make.link("out", f"{up}{victim[1:]}"), make.entry("out/evil", b"x")),
        "absolute link": (make.link("out", victim), make.entry("out/evil", b"x")),
        "link chain": (make.link("one", victim), make.link("two", "one"), make.entry("two/evil", b"x")),
        "link to parent": (make.link("out", ".."), make.entry("out/victim/evil", b"x")),
        "link to itself": (make.link("out", "out"), make.entry("out/evil", b"x")),
        "hard link out": (make.hard_link("mine", f"{up}{victim[1:]}/secret"),),
        "hard link absolute": (make.hard_link("mine", f"{victim}/secret"),),
        "hard link through a link": (make.link("out", victim), make.hard_link("mine", "out/secret")),
        "hard link to nothing": (make.hard_link("mine", "nothing"),),
        "hard link to a folder": (make.folder("d"), make.hard_link("mine", "d")),
        "whiteout of the parent": (make.folder("a"), make.entry("a/.wh...", b"")),
        "whiteout through a link": (make.link("out", victim), make.entry("out/.wh.secret")),
        "opaque through a link": (make.link("out", victim), make.entry("out/.wh..wh..opq")),
        "beneath a file": (make.entry("f", b"x"), make.entry("f/evil", b"x")),
        "folder through a link": (make.link("out", victim), make.folder("out/evil")),
    }


NAMES = sorted(
    cases(SimpleNamespace(**dict.fromkeys(["entry", "link", "hard_link", "folder"], lambda *_, **__: None)), "/v")
)


@pytest.mark.parametrize("name", NAMES)
def test_what_leaves_the_root_is_refused_by_name(
    apply: Callable[..., Path], make: SimpleNamespace, tmp_path: Path, name: str
) -> None:
    entries = cases(make, str(tmp_path / "victim"))[name]
    with pytest.raises(UserError) as refused:
        apply(entries)
    assert f'the entry "{entries[-1][0].name}"' in refused.value.message
    assert refused.value.message.startswith("hostile.tar: ")
    assert [(p.name, p.read_text()) for p in (tmp_path / "victim").iterdir()] == [("secret", "untouched")]
    assert (tmp_path / "victim" / "secret").stat().st_nlink == 1


def test_a_file_replaces_a_link_instead_of_writing_through_it(
    apply: Callable[..., Path], make: SimpleNamespace, tmp_path: Path
) -> None:
    target = str(tmp_path / "victim" / "secret")
    root = apply((make.link("out", target),), (make.entry("out", b"mine"),))
    assert (root / "out").read_bytes() == b"mine"
    assert (tmp_path / "victim" / "secret").read_text() == "untouched"


def test_modes_at_the_end_do_not_follow_links(
    apply: Callable[..., Path], make: SimpleNamespace, tmp_path: Path
) -> None:
    """A folder that a later layer replaces by a link must not pass its mode on to where the link leads."""
    victim = tmp_path / "victim"
    before = victim.stat().st_mode
    apply((make.folder("d", 0o777),), (make.link("d", str(victim)),))
    assert victim.stat().st_mode == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners_are_kept(apply: Callable[..., Path], make: SimpleNamespace) -> None:
    root = apply((make.entry("f", b"x", uid=101, gid=102), make.folder("d")))
    assert ((root / "f").stat().st_uid, (root / "f").stat().st_gid) == (101, 102)


def test_a_link_to_nothing_is_refused(apply: Callable[..., Path], make: SimpleNamespace) -> None:
    """The kernel has no such link; found by an archive drawn at random."""
    with pytest.raises(UserError, match="a link to nothing"):
        apply((make.link("a", ""),))


PIECES = st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh.b", ".wh...", ".wh.", ".wh..wh..opq"])
PATHS = st.lists(PIECES, min_size=1, max_size=4).map("/".join)
TARGETS = st.one_of(PATHS, PATHS.map(lambda path: "/" + path), st.just("../victim"), st.just("../victim/secret"))
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@settings(max_examples=300, deadline=None)
@given(layers=st.lists(st.lists(st.tuples(PATHS, KINDS, TARGETS), max_size=6), min_size=1, max_size=3))
def test_no_archive_reaches_outside(layers: list[list[tuple[str, bytes, str]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        victim, root = Path(place, "victim"), Path(place, "root")
        for folder in (victim, root):
            folder.mkdir()
        (victim / "secret").write_text("untouched")
        before = (victim.stat().st_mtime_ns, victim.stat().st_mode, (victim / "secret").stat().st_ctime_ns)
        tree = RootFolder(root, "random.tar", 1 << 30)
        for entries in layers:
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as tar:
                for name, kind, target in entries:
                    info = tarfile.TarInfo(name)
                    info.type, info.linkname, info.size = kind, target, 2 * (kind == tarfile.REGTYPE)
                    tar.addfile(info, io.BytesIO(b"xx"))
            out.seek(0)
            with contextlib.suppress(UserError), tarfile.open(fileobj=out, mode="r|") as tar:
                tree.apply(tar)
        tree.finish()
        after = (victim.stat().st_mtime_ns, victim.stat().st_mode, (victim / "secret").stat().st_ctime_ns)
        assert before == after
        assert sorted(path.name for path in Path(place).iterdir()) == ["root", "victim"]
        root.chmod(0o700)
