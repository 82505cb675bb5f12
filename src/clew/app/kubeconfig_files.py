"""The user's kubeconfig files: which they are, a lab's entries in and out of them, and the record of what was changed.

The files are chosen, locked and replaced as kubectl does it: of several in $KUBECONFIG, entries go to the first that
exists and the current context to the one that names it. Under sudo the files are the invoking user's and stay theirs.
`clew down` goes by the record in the lab's state, whatever $KUBECONFIG says by then. Blocking; called by
app/lab_up and app/lab_down. The document itself is edited in app/kubeconfig.py.
"""

import contextlib
import os
import pwd
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from clew.app import kubeconfig
from clew.app.kubeconfig import BrokenError, Footprint
from clew.base.errors import UserError
from clew.base.value import Value
from clew.kernel import files

RECORD = "kubeconfigs.json"
_PATIENCE = 5.0  # seconds to wait for another program's lock


class Edit(Value):
    """One file as it was before a lab's entries came into it."""

    path: str
    footprint: Footprint = Footprint()
    mode: int = 0  # 0: the file was not there
    made_folder: bool = False


def listed() -> list[Path]:
    """$KUBECONFIG's files, else ~/.kube/config; under sudo the home is that of the user who called it."""
    given = [each for each in os.environ.get("KUBECONFIG", "").split(":") if each]
    if given:
        return [Path(each).absolute() for each in dict.fromkeys(given)]
    invoker = _invoker()
    home = Path(invoker.pw_dir) if invoker else Path.home()
    return [home / ".kube" / "config"]


def check() -> None:
    """UserError where a file that a merge would touch cannot be read as a kubeconfig; nothing is changed."""
    for path in listed():
        text = _read(path)
        with _broken(path):
            kubeconfig.names(text, "contexts")


def merge(state: Path, new: dict[str, Any]) -> None:
    """Put the entries of `new` into the user's files, make its context current and keep record of it in `state`.

    UserError where a file is broken, locked or cannot be written; it is then as it was.
    """
    paths = listed()
    own = new[kubeconfig.CURRENT]
    target = paths[0] if len(paths) == 1 else next((path for path in paths if path.exists()), paths[-1])
    record = {each.path: each for each in _record(state)}
    made_folder = _make_folder(target.parent)
    with _locked([path for path in paths if path.parent.is_dir()]):
        texts = {path: _read(path) for path in paths}
        chooser = next((path for path in paths if _current(path, texts[path])), target)
        changed: dict[Path, str] = {}
        for path, text in texts.items():
            known = record.get(str(path))
            with _broken(path):
                after, made = _put(text, new if path == target else None, own, known)
                after = kubeconfig.use(after, own) if path == chooser else after
            if after != text:
                changed[path] = after
                edit = known or Edit(str(path), mode=_mode(path), made_folder=made_folder and path == target)
                record[str(path)] = msgspec.structs.replace(edit, footprint=made)
        files.replace(state / RECORD, msgspec.json.encode(list(record.values())))
        for path, text in changed.items():
            _write(path, text, 0o600)


def remove(state: Path, own: str) -> None:
    """Take the lab's entries out of every file they were put in; the former context is current again where ours was.

    What the merge made (folder, file, lists) goes when nothing else is in it. Files that are gone are fine. UserError.
    """
    for edit in _record(state) or [Edit(str(path), mode=_mode(path)) for path in listed() if path.exists()]:
        path = Path(edit.path)
        if not path.exists():
            continue
        with _locked([path]), _broken(path):
            text = _read(path)
            after = text
            if any(own in kubeconfig.names(text, field) for field in kubeconfig.FIELDS):
                after = kubeconfig.take(text, own, edit.footprint)
            if kubeconfig.current(text) == own:
                after = kubeconfig.use(after, _former(edit, after))
            if after != text and not edit.mode and kubeconfig.bare(after):
                path.resolve().unlink()
            elif after != text:
                _write(path, after, edit.mode or 0o600)
            _relink(state, own, edit)
        if edit.made_folder:
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def _put(text: str, new: dict[str, Any] | None, own: str, known: Edit | None) -> tuple[str, Footprint]:
    """The document with the entries, or without where they belong to another file; what an earlier merge saw counts."""
    before = known.footprint if known else Footprint()
    if new is not None:
        after, made = kubeconfig.put(text, new)
    else:
        after, made = text, Footprint(kubeconfig.current(text))
        if own in kubeconfig.names(text, "contexts"):
            after = kubeconfig.take(text, own, before)
    former = before.former if made.former == own else made.former
    return after, Footprint(former, before.absent if known else made.absent, before.empty if known else made.empty)


def _former(edit: Edit, text: str) -> str | None:
    """The context to go back to; a lab that has gone in the meantime is none."""
    former = edit.footprint.former
    if former is None or not former.startswith(kubeconfig.title("")):
        return former
    known = kubeconfig.names(text, "contexts")
    for path in listed():
        with contextlib.suppress(BrokenError):
            known += kubeconfig.names(_read(path), "contexts")
    return former if former in known else None


def _relink(state: Path, own: str, gone: Edit) -> None:
    """Other labs that would go back to this one's context, or leave its lists, take over what it found."""
    for path in state.parent.glob(f"*/{RECORD}"):
        if path.parent == state:
            continue
        edits = _record(path.parent)
        made = [_after(each, own, gone) if each.path == gone.path else each for each in edits]
        if made != edits:
            files.replace(path, msgspec.json.encode(made))


def _after(edit: Edit, own: str, gone: Edit) -> Edit:
    mine, its = edit.footprint, gone.footprint
    footprint = Footprint(
        its.former if mine.former == own else mine.former, mine.absent or its.absent, mine.empty or its.empty
    )
    mode = edit.mode if gone.mode else 0
    return Edit(edit.path, footprint, mode, edit.made_folder or gone.made_folder)


def _record(state: Path) -> list[Edit]:
    try:
        return msgspec.json.decode((state / RECORD).read_bytes(), type=list[Edit])
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def _current(path: Path, text: str) -> str | None:
    with _broken(path):
        return kubeconfig.current(text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"cannot read the kubeconfig {path}: {reason}", _REMEDY) from None


_REMEDY = "mend it, or set KUBECONFIG to another"


@contextlib.contextmanager
def _broken(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenError as error:
        raise UserError(f"{path} is no kubeconfig: {error}", _REMEDY) from None


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all, behind a symlink if there is one; its owner stays, a new file is the user's."""
    real = path.resolve()
    invoker = _invoker()
    owner = files.Owner(invoker.pw_uid, invoker.pw_gid) if invoker else None
    with contextlib.suppress(FileNotFoundError):
        there = real.stat()
        owner = files.Owner(there.st_uid, there.st_gid)
    try:
        files.replace(real, text.encode(), mode, owner)
    except OSError as error:
        raise UserError(f"cannot write the kubeconfig {path}: {error.strerror}", _REMEDY) from None


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _make_folder(folder: Path) -> bool:
    """Make it and what is missing above it, the user's own; tells whether it was missing."""
    if folder.is_dir():
        return False
    try:
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700)
        if invoker := _invoker():
            os.chown(folder, invoker.pw_uid, invoker.pw_gid)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}", "set KUBECONFIG to another") from None
    return True


def _invoker() -> pwd.struct_passwd | None:
    """The user behind sudo."""
    name = os.environ.get("SUDO_USER", "")
    if os.geteuid() or not name:
        return None
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


@contextlib.contextmanager
def _locked(paths: Sequence[Path]) -> Iterator[None]:
    """Hold kubectl's own lock of each file: `FILE.lock`, made by whoever holds it."""
    with contextlib.ExitStack() as stack:
        for path in sorted(set(paths)):
            lock = path.with_name(f"{path.name}.lock")
            _take(lock)
            stack.callback(lock.unlink, missing_ok=True)
        yield


def _take(lock: Path) -> None:
    moment, end = threading.Event(), time.monotonic() + _PATIENCE
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            return
        except FileExistsError:
            if time.monotonic() > end:
                remedy = f"if none is at work, remove {lock}"
                raise UserError(f"another program is changing {lock.with_suffix('')}", remedy) from None
        except OSError as error:
            raise UserError(f"cannot lock the kubeconfig by {lock}: {error.strerror}", _REMEDY) from None
        moment.wait(0.05)
