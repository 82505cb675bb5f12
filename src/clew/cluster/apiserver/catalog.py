"""Every kind that is served now: the built-in ones and those of CustomResourceDefinitions."""

from collections.abc import Iterator
from typing import Any

from clew.api.kinds import ALL_VERBS, EVENT, EVENTS_EVENT, KINDS, Kind
from clew.api.objects import Object


def storage_name(kind: Kind) -> str:
    """Under which name storage keeps a kind; Events of both groups are one."""
    if kind == EVENTS_EVENT:
        kind = EVENT
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def custom_kind(crd: Object, version: Object) -> Kind:
    """The kind that one version of a CustomResourceDefinition serves."""
    spec = crd["spec"]
    names: dict[str, Any] = spec["names"]
    return Kind(
        spec["group"], version["name"], names["kind"], names["plural"], spec.get("scope") == "Namespaced",
        tuple(names.get("shortNames") or ()), tuple(names.get("categories") or ()),
        tuple(sorted(version.get("subresources") or {})), ALL_VERBS,
    )  # fmt: skip


class Catalog:
    """Kinds by where they are served."""

    def __init__(self) -> None:
        self._built_in = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
        self._custom: dict[tuple[str, str, str], tuple[Kind, Object, Object]] = {}
        self._of_crd: dict[str, list[tuple[str, str, str]]] = {}

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        key = (group, version, plural)
        if key in self._built_in:
            return self._built_in[key]
        return self._custom[key][0] if key in self._custom else None

    def custom(self, kind: Kind) -> tuple[Object, Object] | None:
        """The definition and the version of a custom kind; None for a built-in one."""
        found = self._custom.get((kind.group, kind.version, kind.plural))
        return (found[1], found[2]) if found else None

    def groups(self) -> dict[str, dict[str, list[Kind]]]:
        """Group to version to kinds, the core group under ""."""
        found: dict[str, dict[str, list[Kind]]] = {}
        for kind in self:
            found.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
        return found

    def __iter__(self) -> Iterator[Kind]:
        yield from self._built_in.values()
        for kind, _, _ in self._custom.values():
            yield kind

    def define(self, crd: Object) -> None:
        """Serve what a CustomResourceDefinition names."""
        name = crd["metadata"]["name"]
        self.forget(name)
        keys = self._of_crd.setdefault(name, [])
        for version in crd["spec"].get("versions") or ():
            if version.get("served"):
                kind = custom_kind(crd, version)
                key = (kind.group, kind.version, kind.plural)
                self._custom[key] = (kind, crd, version)
                keys.append(key)

    def forget(self, name: str) -> None:
        for key in self._of_crd.pop(name, ()):
            self._custom.pop(key, None)
