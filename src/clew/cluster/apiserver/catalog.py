"""Every kind that is served now: the built-in ones and those of CustomResourceDefinitions.

The definitions' own life (conditions, schema checks, deletion) is next door, in crds.
"""

from collections.abc import Iterator
from typing import Any

from clew.api.kinds import ALL_VERBS, EVENT, EVENTS_EVENT, KINDS, Kind
from clew.api.objects import Object
from clew.api.shapes import Shape, of_schema
from clew.cluster.admission.cel import Rules

Key = tuple[str, str, str]


def stored_kind(kind: Kind) -> Kind:
    """The kind that keeps the objects of this one; Events of both groups are one."""
    return EVENT if kind == EVENTS_EVENT else kind


def storage_name(kind: Kind) -> str:
    """Under which name storage keeps a kind; all versions of a kind are one."""
    kind = stored_kind(kind)
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def is_established(status: Object) -> bool:
    """Whether a definition's status says that it is served."""
    conditions = status.get("conditions") or ()
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)


class Custom:
    """One served version of a CustomResourceDefinition. Compared by identity: a changed definition is another."""

    def __init__(self, crd: Object, version: Object) -> None:
        spec = crd["spec"]
        names: dict[str, Any] = crd["status"]["acceptedNames"]
        self.crd = crd
        self.version = version
        self.schema: Object = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        self.rules = Rules(self.schema)
        self.terminating = "deletionTimestamp" in crd["metadata"]
        self.subresources: Object = version.get("subresources") or {}
        self.columns = version.get("additionalPrinterColumns")
        self.selectable = frozenset(
            each["jsonPath"].removeprefix(".") for each in version.get("selectableFields") or () if each.get("jsonPath")
        )
        self.kind = Kind(
            spec["group"], version["name"], names["kind"], names["plural"], spec.get("scope") == "Namespaced",
            tuple(names.get("shortNames") or ()), tuple(names.get("categories") or ()),
            tuple(sorted(self.subresources)), ALL_VERBS,
        )  # fmt: skip
        self.singular: str = names.get("singular") or names["kind"].lower()
        self._shape: Shape | None = None

    @property
    def shape(self) -> Shape:
        """How its maps and lists merge, for server-side apply."""
        if self._shape is None:
            self._shape = of_schema(self.schema)
        return self._shape


class Catalog:
    """Kinds by where they are served."""

    def __init__(self) -> None:
        self._built_in = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
        self._custom: dict[Key, Custom] = {}
        self._of_crd: dict[str, list[Key]] = {}
        self.edition = 0  # grows with every change, for those who keep documents about it

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        key = (group, version, plural)
        if key in self._built_in:
            return self._built_in[key]
        return self._custom[key].kind if key in self._custom else None

    def custom(self, kind: Kind) -> Custom | None:
        """The definition behind a custom kind; None for a built-in one."""
        return self._custom.get((kind.group, kind.version, kind.plural)) if self._custom else None

    def groups(self) -> dict[str, dict[str, list[Kind]]]:
        """Group to version to kinds, the core group under ""; each group's preferred version first."""
        found: dict[str, dict[str, list[Kind]]] = {}
        for kind in self:
            found.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
        return {
            group: dict(sorted(versions.items(), key=lambda each: _priority(each[0])))
            for group, versions in found.items()
        }

    def __iter__(self) -> Iterator[Kind]:
        yield from self._built_in.values()
        for custom in self._custom.values():
            yield custom.kind

    def define(self, crd: Object) -> None:
        """Serve what a CustomResourceDefinition names, once its names are accepted."""
        name = crd["metadata"]["name"]
        self.forget(name)
        if not is_established(crd.get("status") or {}):
            return
        keys = self._of_crd.setdefault(name, [])
        for version in crd["spec"].get("versions") or ():
            if version.get("served"):
                custom = Custom(crd, version)
                key = (custom.kind.group, custom.kind.version, custom.kind.plural)
                self._custom[key] = custom
                keys.append(key)

    def names_in_use(self, group: str, *, but: str) -> dict[str, set[str]]:
        """What `resources` and `kinds` of a group are called, leaving out those of the definition `but`."""
        own = set(self._of_crd.get(but, ()))
        resources, kinds = set[str](), set[str]()
        for kind in self._built_in.values():
            if kind.group == group:
                resources |= {kind.plural, kind.singular, *kind.short_names}
                kinds |= {kind.kind, f"{kind.kind}List"}
        for key, custom in self._custom.items():
            if key[0] == group and key not in own:
                resources |= {custom.kind.plural, custom.singular, *custom.kind.short_names}
                kinds |= {custom.kind.kind, f"{custom.kind.kind}List"}
        return {"resources": resources, "kinds": kinds}

    def forget(self, name: str) -> None:
        self.edition += 1
        for key in self._of_crd.pop(name, ()):
            self._custom.pop(key, None)


def _priority(version: str) -> tuple[int, int, int, str]:
    """v2 before v1 before v1beta1 before v1alpha1 before anything else (KEP: version priority)."""
    digits, stage = version[1:], 0
    for at, word in enumerate(("beta", "alpha"), 1):
        if word in digits:
            major, _, minor = digits.partition(word)
            if version[0] == "v" and major.isdecimal() and minor.isdecimal():
                return (at, -int(major), -int(minor), "")
    if version[0] == "v" and digits.isdecimal():
        return (stage, -int(digits), 0, "")
    return (3, 0, 0, version)
