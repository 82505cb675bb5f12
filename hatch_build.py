"""Build hook: the API's own description of its objects, and the eBPF programs.

The description is cut out of the package kubernetes-validate and compressed. Two files go to src/clew/api/data, ignored
by version control and carried by the wheel:

* shapes.gen.json.z: fields, types, list keys and patch strategies of every object type; small, read by every process
  that checks, patches or applies an object (clew.api.shapes).
* schemas.gen.json.z: the OpenAPI v3 schemas with their descriptions; read when a client asks for /openapi/v3
  (clew.api.openapi). Each schema is compressed by itself, so that a document costs only what it contains.

Each bpf/NAME.bpf.c becomes src/clew/kernel/bpf/programs/NAME.bpf.o by clang. A wheel carries them always; a checkout on
a machine without clang works without them, and says so where somebody asks for eBPF.

Standard library only: it runs where nothing of Clew is installed. By hand: `python hatch_build.py`.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import platform
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VERSION = "v1.37.0"
FOLDER = Path("src/clew/api/data")
PROGRAMS = Path("src/clew/kernel/bpf/programs")
GROUP_VERSIONS = frozenset({
    ("", "v1"), ("apps", "v1"), ("batch", "v1"), ("authentication.k8s.io", "v1"), ("authorization.k8s.io", "v1"),
    ("apiextensions.k8s.io", "v1"), ("autoscaling", "v1"), ("coordination.k8s.io", "v1"), ("discovery.k8s.io", "v1"),
    ("events.k8s.io", "v1"), ("networking.k8s.io", "v1"), ("policy", "v1"), ("rbac.authorization.k8s.io", "v1"),
})  # fmt: skip
_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg."

# what JSON Schema says otherwise than the API server's own documents
_UPSTREAM: dict[str, dict[str, Any]] = {
    f"{_META}util.intstr.IntOrString": {
        "description": "IntOrString is a type that can hold an int32 or a string.",
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    f"{_META}api.resource.Quantity": {
        "description": "Quantity is a fixed-point number with a decimal or binary suffix, such as 100m, 1.5Gi or 2e3.",
        "oneOf": [{"type": "string"}, {"type": "number"}],
    },
    f"{_META}apis.meta.v1.Patch": {"description": "Patch is the body of a PATCH request.", "type": "object"},
}
_FORMS = {
    f"{_META}util.intstr.IntOrString": "int-or-string",
    f"{_META}api.resource.Quantity": "quantity",
    f"{_META}apis.meta.v1.Time": "time",
    f"{_META}apis.meta.v1.MicroTime": "time",
    f"{_META}apis.meta.v1.FieldsV1": "any",
    f"{_META}apis.meta.v1.Patch": "any",
    f"{_META}runtime.RawExtension": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "any",
}
_STRING_FORMS = {"byte": "bytes"}


def definitions() -> dict[str, Any]:
    """Every definition that the kinds of GROUP_VERSIONS reach, in OpenAPI v3's words."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise RuntimeError("the build needs the package kubernetes-validate (it is in [build-system].requires)")
    source = Path(spec.origin).parent / "kubernetes-json-schema" / f"{VERSION}-local" / "_definitions.json"
    found: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))["$defs"]
    waiting = [*_UPSTREAM, *(name for name, value in found.items() if _is_served(value))]
    kept: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = _UPSTREAM.get(name) or _converted(found[name])
            waiting += _references(kept[name])
    return dict(sorted(kept.items()))


def _is_served(definition: dict[str, Any]) -> bool:
    kinds = definition.get("x-kubernetes-group-version-kind", ())
    return any((each["group"], each["version"]) in GROUP_VERSIONS for each in kinds)


def _converted(node: Any, *, is_schema: bool = True) -> Any:
    """References and nullable types in OpenAPI v3's words. JSONSchemaProps has properties called `$ref` and `type`."""
    if isinstance(node, list):
        return [_converted(item) for item in node]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for key, value in node.items():
        if is_schema and key == "$ref":
            made["allOf"] = [{"$ref": value.replace("#/$defs/", _REF)}]
        elif is_schema and key == "type" and isinstance(value, list):
            made[key] = next(each for each in value if each != "null")
        elif is_schema and key == "enum" and len(value) == 1:
            continue  # kubernetes-validate pins apiVersion and kind; the API server's documents do not
        else:
            made[key] = _converted(value, is_schema=not (is_schema and key == "properties"))
    return made


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].removeprefix(_REF)] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in _references(value)]
    if isinstance(node, list):
        return [each for item in node for each in _references(item)]
    return []


def shape(schema: dict[str, Any]) -> dict[str, Any]:
    """One field in the words of clew.api.shapes.Shape; what is usual is left out."""
    reference = _references({key: schema[key] for key in ("$ref", "allOf") if key in schema})
    made: dict[str, Any] = {}
    if reference and reference[0] in _FORMS:
        made["form"] = _FORMS[reference[0]]
    elif reference:
        made |= {"form": "struct", "type": reference[0]}
    elif schema.get("type") == "array":
        made |= {"form": "list", "item": shape(schema["items"])}
    elif schema.get("type") == "object":
        values = schema.get("additionalProperties")
        made |= {"form": "map", "item": shape(values)} if isinstance(values, dict) else {"form": "any"}
    else:
        form = _STRING_FORMS.get(schema.get("format", "")) or schema.get("type", "any")
        made["form"] = "int32" if (form, schema.get("format")) == ("integer", "int32") else form
    return made | _hints(schema)


def _hints(schema: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, name in (
        ("x-kubernetes-list-type", "list_type"), ("x-kubernetes-list-map-keys", "keys"),
        ("x-kubernetes-patch-merge-key", "merge_key"),
    ):  # fmt: skip
        if key in schema:
            made[name] = schema[key]
    if "x-kubernetes-patch-strategy" in schema:
        made["strategies"] = schema["x-kubernetes-patch-strategy"].split(",")
    if schema.get("x-kubernetes-map-type") == "atomic":
        made["atomic"] = True
    return made


def shapes(found: dict[str, Any]) -> dict[str, Any]:
    """All struct types by name, and the type of each group, version and kind."""
    types, kinds = {}, {}
    for name, definition in found.items():
        if name in _FORMS:
            continue
        required = set(definition.get("required", ()))
        types[name] = {
            "fields": {
                field: shape(value) | ({"required": True} if field in required else {})
                for field, value in definition.get("properties", {}).items()
            },
            **({"atomic": True} if definition.get("x-kubernetes-map-type") == "atomic" else {}),
        }
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            if (kind["group"], kind["version"]) in GROUP_VERSIONS:
                kinds["/".join((kind["group"], kind["version"], kind["kind"]))] = name
    return {"types": types, "kinds": kinds}


def schemas(found: dict[str, Any]) -> dict[str, str]:
    """Each schema as its JSON text, compressed."""
    return {name: base64.b85encode(zlib.compress(_json(value), 9)).decode() for name, value in found.items()}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def generate(root: Path) -> list[Path]:
    """Write the files below a checkout's root where they differ; returns their paths, relative to it."""
    found = definitions()
    made = {
        "shapes.gen.json.z": zlib.compress(_json(shapes(found)), 9),
        "schemas.gen.json": _json(schemas(found)),
    }
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        target = root / FOLDER / name
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
    return [FOLDER / name for name in made]


def compile_programs(root: Path) -> list[Path]:
    """Compile what is older than its sources; returns the objects' paths, relative to the root. None without clang."""
    clang = shutil.which("clang")
    made: list[Path] = []
    if clang:
        (root / PROGRAMS).mkdir(parents=True, exist_ok=True)
    sources = sorted((root / "bpf").glob("*.bpf.c"))
    newest = max((each.stat().st_mtime for each in (root / "bpf").iterdir()), default=0.0)
    for source in sources if clang else ():
        target = root / PROGRAMS / source.name.replace(".c", ".o")
        if not target.exists() or target.stat().st_mtime < newest:
            fresh = target.with_suffix(".new")
            include = f"-I/usr/include/{platform.machine()}-linux-gnu"  # Debian keeps asm/types.h there
            same = ["-fdebug-compilation-dir=.", f"-ffile-prefix-map={root}=."]  # wherever it is built
            command = [
                clang,
                "-O2",
                "-g",
                "-Wall",
                "-Werror",
                "-target",
                "bpf",
                include,
                *same,
                "-c",
                source,
                "-o",
                fresh,
            ]
            subprocess.run(command, check=True)
            fresh.replace(target)
        made.append(PROGRAMS / target.name)
    if clang:
        (root / PROGRAMS).touch()  # scripts/install looks for sources that are newer
    return made


class BuildHook(BuildHookInterface):  # type: ignore[type-arg, misc]
    """Runs before a wheel (also an editable one) is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate the data and the programs and include them, though version control ignores them."""
        root = Path(self.root)
        programs = compile_programs(root)
        if (
            not programs
            and any((root / "bpf").glob("*.bpf.c"))
            and self.target_name == "wheel"
            and version != "editable"
        ):
            raise RuntimeError("a wheel carries eBPF programs, which clang compiles: apt-get install clang libbpf-dev")
        for path in (*generate(root), *programs):
            build_data["force_include"][str(Path(self.root) / path)] = str(path.relative_to("src"))


if __name__ == "__main__":
    generate(Path(__file__).parent)
    compile_programs(Path(__file__).parent)
