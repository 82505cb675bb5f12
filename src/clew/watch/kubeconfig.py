"""Kubeconfig files, read as kubectl reads them: contexts, inline data or files, tokens, exec plugins' absence said.

Reading only; the lab's own file is written elsewhere.
"""

import base64
import binascii
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clew.base.errors import UserError
from clew.watch.credentials import Access, TokenFile, tls_context

_ANOTHER = "mend it, or name another by --kubeconfig or $KUBECONFIG"

Entry = Mapping[str, Any]


def load(paths: str | Path, context: str = "") -> Access:
    """The access that a context stands for, the current one when none is named.

    `paths` is one file, or several as $KUBECONFIG has them, with a colon between: of entries with one name the first
    counts, and files that are not there are passed over. UserError names the file and the field.
    """
    named = [Path(each) for each in str(paths).split(os.pathsep) if each]
    if len(named) > 1:
        named = [each for each in named if each.exists()] or named[:1]
    return _access([_File(each) for each in named], context)


class _File:
    """One file's entries; what these name beside them is relative to its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = yaml.safe_load(path.read_text())
        except OSError as error:
            raise UserError(f"cannot read the kubeconfig {path}: {error.strerror}", _ANOTHER) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}", _ANOTHER) from error
        if not isinstance(content, dict):
            raise UserError(f"{path} is not a kubeconfig", "kind: Config is expected")
        self.current = str(content.get("current-context") or "")
        self._content: Entry = content

    def entries(self, plural: str) -> list[Entry]:
        return [each for each in self._content.get(plural) or () if isinstance(each, dict)]

    def bytes_of(self, entry: Entry, field: str) -> bytes:
        """The content of `field-data` or of the file that `field` names."""
        if inline := entry.get(f"{field}-data"):
            try:
                return base64.b64decode(inline, validate=True)
            except (binascii.Error, ValueError, TypeError) as error:
                raise UserError(f"{self.path}: {field}-data is not base64", _ANOTHER) from error
        if not (named := entry.get(field)):
            return b""
        try:
            return (self.path.parent / str(named)).read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: cannot read {field} {named}: {error.strerror}", _ANOTHER) from error

    def token_of(self, user: Entry) -> Callable[[], str] | None:
        if named := user.get("tokenFile"):
            return TokenFile(self.path.parent / str(named))
        if token := user.get("token"):
            return lambda: str(token)
        for unsupported in ("exec", "auth-provider", "username"):
            if user.get(unsupported):
                raise UserError(
                    f"{self.path}: a user with {unsupported!r} is not supported",
                    "make a token with `kubectl create token` or use a client certificate",
                )
        return None


def _access(files: Sequence[_File], context: str) -> Access:
    name = context or next((each.current for each in files if each.current), "")
    if not name:
        where = ", ".join(str(each.path) for each in files)
        raise UserError(f"{where} has no current-context", "choose one: kubectl config use-context NAME")
    _, chosen = _named(files, "contexts", "context", name)
    at, cluster = _named(files, "clusters", "cluster", str(chosen.get("cluster") or ""))
    whose, user = _named(files, "users", "user", str(chosen["user"])) if chosen.get("user") else (at, {})
    server = str(cluster.get("server") or "")
    titled = f"{at.path}: cluster {chosen.get('cluster')!r}"
    if not server.startswith(("https://", "http://")):
        raise UserError(f"{titled} has no usable server: {server!r}", "write it as https://192.0.2.1:6443")
    if cluster.get("insecure-skip-tls-verify"):  # credentials would go to whoever answers
        raise UserError(f"{titled} sets insecure-skip-tls-verify", "give its certificate-authority instead")
    secure = tls_context(
        at.bytes_of(cluster, "certificate-authority"),
        whose.bytes_of(user, "client-certificate"),
        whose.bytes_of(user, "client-key"),
    )
    return Access(
        server,
        secure if server.startswith("https://") else None,
        whose.token_of(user),
        str(cluster.get("tls-server-name") or ""),
        str(chosen.get("namespace") or "default"),
    )


def _named(files: Sequence[_File], plural: str, singular: str, name: str) -> tuple[_File, Entry]:
    """The first entry of a name, and the file that has it."""
    for each in files:
        for entry in each.entries(plural):
            if entry.get("name") == name:
                return each, entry.get(singular) or {}
    known = ", ".join(sorted(str(entry.get("name")) for each in files for entry in each.entries(plural))) or "none"
    where = ", ".join(str(each.path) for each in files)
    raise UserError(f"{where} has no {singular} {name!r}", f"it has: {known}")
