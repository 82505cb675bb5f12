"""A structural schema as a type of CEL: what `self` is at each of its levels.

Objects with named fields become protobuf messages, because that is what CEL's type checker knows fields of. Values are
never such messages: rules run on maps (`values`), the messages are only there to find what a rule gets wrong.

Source: k8s.io/apiserver pkg/cel/common/schemas.go. A list or map inside a list or map inside a message is `dyn`, as
protobuf cannot tell its type.
"""

from typing import Any

from google.protobuf import descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2

from clew.api.objects import Object
from clew.base.value import Value
from clew.cluster.admission.cel.names import escaped

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "schema"
_STRINGS = {"byte": "bytes", "duration": "duration", "date": "timestamp", "date-time": "timestamp"}
_PLAIN = {"boolean": "bool", "number": "double", "integer": "int"}
_SCALARS = {
    "bool": _Field.TYPE_BOOL, "double": _Field.TYPE_DOUBLE, "int": _Field.TYPE_INT64, "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}  # fmt: skip
_KNOWN = {
    "dyn": ".google.protobuf.Value", "timestamp": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
}  # fmt: skip
_TEXT: Object = {"type": "string"}
_IDENTITY: Object = {
    "apiVersion": _TEXT, "kind": _TEXT,
    "metadata": {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}},
}  # fmt: skip
DEPENDENCIES = (struct_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR)


class CelType(Value):
    """`list` and `map` have parameters; a message goes by its full name."""

    name: str
    of: tuple["CelType", ...] = ()

    def written(self) -> Object:
        """As the library's configuration writes it."""
        told: Object = {"type_name": self.name}
        if self.of:
            told["params"] = [each.written() for each in self.of]
        return told


def fields_of(schema: Object, *, is_root: bool) -> Object:
    """The properties that expressions see of an object; a resource's identity is always there."""
    properties = schema.get("properties") or {}
    return {**properties, **_IDENTITY} if is_root else properties


class Messages:
    """The messages of one schema, gathered while its levels are told."""

    def __init__(self) -> None:
        self.file = descriptor_pb2.FileDescriptorProto(name="schema.proto", package=_PACKAGE, syntax="proto2")
        self.file.dependency.extend(each.name for each in DEPENDENCIES)
        self._told: dict[int, CelType | None] = {}

    def type_of(self, schema: Object, *, is_root: bool = False) -> CelType | None:
        """None where expressions see nothing of it: no type is known."""
        if id(schema) not in self._told:  # the same level always is the same message
            self._told[id(schema)] = self._type_of(schema, is_root=is_root)
        return self._told[id(schema)]

    def _type_of(self, schema: Object, *, is_root: bool) -> CelType | None:
        if schema.get("x-kubernetes-int-or-string"):
            return CelType("dyn")
        match schema.get("type"):
            case "array":
                inner = self._inner(schema.get("items"))
                return CelType("list", (inner,)) if inner else None
            case "object" if isinstance(schema.get("additionalProperties"), dict):
                inner = self._inner(schema["additionalProperties"])
                return CelType("map", (CelType("string"), inner)) if inner else None
            case "object":
                return self._message(fields_of(schema, is_root=is_root))
            case "string":
                return CelType(_STRINGS.get(schema.get("format", ""), "string"))
            case other:
                return CelType(_PLAIN[other]) if other in _PLAIN else None

    def _inner(self, schema: Any) -> CelType | None:
        if not isinstance(schema, dict):
            return None
        return self.type_of(schema, is_root=bool(schema.get("x-kubernetes-embedded-resource")))

    def _message(self, fields: Object) -> CelType:
        name = f"Object{len(self.file.message_type) + 1}"
        message = self.file.message_type.add(name=name)
        message.options.deprecated_legacy_json_field_conflicts = True  # nobody reads them as JSON
        titles: set[str] = {written for field in fields if (written := escaped(field))}
        for field, schema in fields.items():
            kind, written = self._inner(schema), escaped(field)
            if kind and written:
                _add(message, written, kind, titles, f".{_PACKAGE}.{name}")
        return CelType(f"{_PACKAGE}.{name}")


def _add(message: descriptor_pb2.DescriptorProto, name: str, kind: CelType, titles: set[str], inside: str) -> None:
    """A field of a message at a place; `titles` are the names that are taken inside the message."""
    number = len(message.field) + 1
    field = message.field.add(name=name, number=number, json_name=f"f{number}", label=_Field.LABEL_OPTIONAL)
    if kind.name == "map":
        title = _entry(name)
        if title in titles:  # `a_b` beside `aB`: protobuf gives both maps' entries one name
            _set_type(field, CelType("dyn"))
            return
        titles.add(title)
        _add_map(message.nested_type.add(name=title), kind.of[1])
        field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
        field.type_name = f"{inside}.{title}"
    elif kind.name == "list":
        field.label = _Field.LABEL_REPEATED
        _set_type(field, kind.of[0])
    else:
        _set_type(field, kind)


def _entry(name: str) -> str:
    """What protobuf wants the entry of a map to be called: as its field, in camel case."""
    return f"{''.join(part[:1].upper() + part[1:] for part in name.split('_'))}Entry"


def _add_map(entry: descriptor_pb2.DescriptorProto, kind: CelType) -> None:
    entry.options.map_entry = True
    _set_type(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), CelType("string"))
    _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), kind)


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: CelType) -> None:
    if kind.name in _SCALARS:
        field.type = _SCALARS[kind.name]
        return
    field.type = _Field.TYPE_MESSAGE
    field.type_name = _KNOWN.get(kind.name, _KNOWN["dyn"] if kind.of else f".{kind.name}")
