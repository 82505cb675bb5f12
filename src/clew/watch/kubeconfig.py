"""Kubeconfig files, read as kubectl reads them: contexts, inline data or files, tokens, exec plugins' absence said.

Reading only; the lab's own file is written elsewhere.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from clew.base.errors import UserError
from clew.watch.credentials import Access, TokenFile, tls_context


def load(path: Path, context: str = "", *, allow_insecure: bool = False) -> Access:
    """The access that a context stands for, the current one when none is named.

    Raises UserError that names the file and the field. `insecure-skip-tls-verify` is refused unless allowed:
    credentials would go to whoever answers.
    """
    return _File(path).access(context, allow_insecure=allow_insecure)


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            content = yaml.safe_load(path.read_text())
        except OSError as error:
            raise UserError(f"cannot read the kubeconfig {path}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not YAML: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"{path} is not a kubeconfig", "kind: Config is expected")
        self._content: Mapping[str, Any] = content

    def access(self, context: str, *, allow_insecure: bool) -> Access:
        name = context or self._content.get("current-context") or ""
        if not name:
            raise UserError(f"{self._path} has no current-context", "name one with --context")
        chosen = self._named("contexts", "context", name)
        cluster = self._named("clusters", "cluster", str(chosen.get("cluster") or ""))
        user = self._named("users", "user", str(chosen["user"])) if chosen.get("user") else {}
        server = str(cluster.get("server") or "")
        if not server.startswith(("https://", "http://")):
            raise UserError(f"{self._path}: cluster {chosen.get('cluster')!r} has no usable server: {server!r}")
        insecure = bool(cluster.get("insecure-skip-tls-verify"))
        if insecure and not allow_insecure:
            raise UserError(
                f"{self._path}: cluster {chosen.get('cluster')!r} sets insecure-skip-tls-verify",
                "give its certificate-authority, or pass --insecure-skip-tls-verify",
            )
        secure = tls_context(
            self._bytes(cluster, "certificate-authority"),
            self._bytes(user, "client-certificate"),
            self._bytes(user, "client-key"),
            insecure=insecure,
        )
        return Access(
            server,
            secure if server.startswith("https://") else None,
            self._token(user),
            str(cluster.get("tls-server-name") or ""),
            str(chosen.get("namespace") or "default"),
        )

    def _named(self, plural: str, singular: str, name: str) -> Mapping[str, Any]:
        for entry in self._content.get(plural) or ():
            if isinstance(entry, dict) and entry.get("name") == name:
                return entry.get(singular) or {}
        known = ", ".join(sorted(str(entry.get("name")) for entry in self._content.get(plural) or ())) or "none"
        raise UserError(f"{self._path} has no {singular} {name!r}", f"it has: {known}")

    def _bytes(self, entry: Mapping[str, Any], field: str) -> bytes:
        """The content of `field-data` or of the file that `field` names, relative to the kubeconfig."""
        if inline := entry.get(f"{field}-data"):
            try:
                return base64.b64decode(inline, validate=True)
            except (binascii.Error, ValueError, TypeError) as error:
                raise UserError(f"{self._path}: {field}-data is not base64") from error
        if not (named := entry.get(field)):
            return b""
        try:
            return (self._path.parent / str(named)).read_bytes()
        except OSError as error:
            raise UserError(f"{self._path}: cannot read {field} {named}: {error.strerror}") from error

    def _token(self, user: Mapping[str, Any]) -> Callable[[], str] | None:
        if named := user.get("tokenFile"):
            return TokenFile(self._path.parent / str(named))
        if token := user.get("token"):
            return lambda: str(token)
        for unsupported in ("exec", "auth-provider", "username"):
            if user.get(unsupported):
                raise UserError(
                    f"{self._path}: a user with {unsupported!r} is not supported",
                    "make a token with `kubectl create token` or use a client certificate",
                )
        return None
