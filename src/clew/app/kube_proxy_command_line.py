"""kube-proxy's flags as they were typed: made into the document that a file would hold, and named in refusals.

kube-proxy passes its flags over where `--config` names a file, but for a few (`Flag.counts`). So does this where the
file has a KubeProxyConfiguration; where it has none, or there is no file, the flags are it. Pure. Called by
app/agent_config.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from clew.app.kube_proxy_config import FieldError, seconds
from clew.app.kube_proxy_flags import FLAGS, Flag, Kind
from clew.base.errors import UserError
from clew.base.value import Value

NO_PAUSE = "1ms"  # in a file 0s asks for the default; as a flag it asks for no pause
WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}

Given = Sequence[tuple[str, Any]]  # flags by name, in order; a list has one value each time that its flag was given


class Document(Value):
    """What the flags and a file's document say together."""

    content: dict[str, Any]
    taken: Given  # flags that count
    passed_over: tuple[str, ...]  # those that do not, since there is a document


def document(given: Given, file: Mapping[str, Any] | None) -> Document:
    """`file`: the decoded KubeProxyConfiguration of the file, None where it has none. UserError names the flag."""
    content: dict[str, Any] = dict(file or {})
    taken = [(name, value) for name, value in given if file is None or FLAGS[name].counts]
    over = [f"--{name}" for name, _ in given if file is not None and not FLAGS[name].counts]
    for name, value in taken:
        flag = FLAGS[name]
        read = _read(flag, value)
        if read is not None:
            for path in flag.fields:
                _put(content, path.split("."), read)
    return Document(content, taken, tuple(over))


@contextmanager
def named(given: Given) -> Iterator[None]:
    """A field that was set by a flag is refused by the flag's name."""
    names = {path: name for name, _ in given for path in FLAGS[name].fields}
    try:
        yield
    except FieldError as wrong:
        name = names.get(wrong.field.partition("[")[0])
        if name is None:
            raise
        raise UserError(f"{_dashed(name)}: {wrong.what}", wrong.remedy) from wrong


def _put(content: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *sections, last = path
    for name in sections:
        content[name] = dict(content.get(name) or {})
        content = content[name]
    content[last] = value


def _read(flag: Flag, value: Any) -> Any:
    """As the field has it; None where kube-proxy takes an empty value for none."""
    kinds: dict[Kind, Any] = {"list": _list, "duration": _duration, "pause": _pause, "gates": _gates, "levels": _levels}
    if flag.name == "hostname-override":
        return _hostname(value)
    return kinds[flag.kind](flag, value) if flag.kind in kinds else value


def _list(_: Flag, value: Sequence[str]) -> list[str]:
    return [part.strip() for text in value for part in text.split(",") if part.strip()]


def _duration(flag: Flag, value: str) -> str:
    with named([(flag.name, value)]):
        length = seconds(value, flag.fields[0])
    if flag.name.endswith("-sync-period") and not length:
        raise UserError(f"--{flag.name}: must be greater than 0", "leave it out for the default")
    return value


def _pause(flag: Flag, value: str) -> str:
    with named([(flag.name, value)]):
        return value if seconds(value, flag.fields[0]) else NO_PAUSE


def _pairs(flag: Flag, value: Sequence[str], example: str) -> Iterator[tuple[str, str]]:
    for part in _list(flag, value):
        name, sign, said = part.partition("=")
        if not sign or not name:
            raise UserError(f"--{flag.name}: {part!r} has no value", f"write it as {example}")
        yield name.strip(), said.strip()


def _gates(flag: Flag, value: Sequence[str]) -> dict[str, bool]:
    found = {}
    for name, said in _pairs(flag, value, "AllAlpha=false"):
        if said.lower() not in WORDS:
            raise UserError(f"--{flag.name}: {name}={said} is neither true nor false", "write it as AllAlpha=false")
        found[name] = WORDS[said.lower()]
    return found


def _levels(flag: Flag, value: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for name, said in _pairs(flag, value, "proxier=4"):
        if not said.isdigit():
            raise UserError(f"--{flag.name}: {name}={said} is no level", "write it as proxier=4")
        found.append({"filePattern": name, "verbosity": int(said)})
    return found


def _hostname(value: str) -> str | None:
    if value and not value.strip():
        raise UserError("--hostname-override: nothing but blanks", "give the Node's name")
    return value.strip().lower() or None


def _dashed(name: str) -> str:
    return f"--{name}" if len(name) > 1 else f"-{name}"
