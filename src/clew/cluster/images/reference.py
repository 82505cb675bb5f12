"""Image references as containerd and kubelet read them: `[domain/]path[:tag][@digest]`, short names meaning Docker Hub.

Pure. The grammar is that of the distribution project's reference package, the errors are kubelet's. Called by the
service for what pods ask for and by the archive reader for the names that archives carry.
"""

import re

from clew.base.value import Value
from clew.cluster.images.image import ImageError

_DOMAIN = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
    r"|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
)
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_HEX_ID = re.compile(r"[a-f0-9]{64}")
_LONGEST_NAME = 255
_HUB = "docker.io"


class Reference(Value):
    """A normalised reference; `tag` is "latest" where neither a tag nor a digest was given."""

    domain: str
    path: str
    tag: str
    digest: str

    @property
    def repository(self) -> str:
        """`docker.io/library/nginx`: what a catalogue is keyed by."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The short form people type: `nginx:1.27`."""
        name = self.repository
        if self.domain == _HUB:
            name = self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path
        return name + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    def __str__(self) -> str:
        return self.repository + self._suffix()


def parse_reference(text: str) -> Reference:
    """The reference in `text`; ImageError "InvalidImageName" carries the words of kubelet's own refusal."""
    name, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise _refused(text)
    name, tag = _split_tag(name)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _refused(text)
    if _HEX_ID.fullmatch(name):
        raise _refused(text, f"invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")
    domain, path = _split_domain(name)
    if path != path.lower():
        detail = f": repository name ({path}) must be lowercase" if _PATH.fullmatch(path.lower()) else ""
        raise _refused(text, f"invalid reference format{detail}")
    if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
        raise _refused(text)
    if len(path) > _LONGEST_NAME:
        raise _refused(text, "repository name must not be more than 255 characters")
    return Reference(domain=domain, path=path, tag=tag or ("" if digest else "latest"), digest=digest)


def _split_tag(name: str) -> tuple[str, str | None]:
    """A colon after the last slash starts a tag; one before it belongs to the registry's port."""
    head, colon, tail = name.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (name, None)


def _split_domain(name: str) -> tuple[str, str]:
    """The first component is a registry if it looks like a host (a dot, a port, localhost, a capital), else a path."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        domain, path = first, rest
    else:
        domain, path = _HUB, name
    if domain == "index.docker.io":
        domain = _HUB
    if domain == _HUB and "/" not in path:
        path = f"library/{path}"
    return domain, path


def _refused(text: str, why: str = "invalid reference format") -> ImageError:
    return ImageError(
        "InvalidImageName", f'Failed to apply default image tag "{text}": couldn\'t parse image name "{text}": {why}'
    )
