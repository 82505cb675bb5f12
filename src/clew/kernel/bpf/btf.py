"""The types of an object (section .BTF), as far as maps and constants are declared by them. Pure.

Source: Documentation/bpf/btf.rst of the kernel. A map is a struct whose members say what it is by the shape of their
types: `__uint(type, 1)` is a pointer to an array of one, `__type(key, T)` a pointer to T.
"""

from struct import Struct

from clew.base.value import Value
from clew.kernel.bpf.errors import BadObject

HEADER = Struct("<HBBIIIII")  # magic, version, flags, header length, types at, length, strings at, length
TYPE = Struct("<III")  # name, info, size or type
MEMBER = Struct("<III")  # name, type, offset
ARRAY = Struct("<III")  # element type, index type, count
VARIABLE = Struct("<III")  # type, offset, size
MAGIC = 0xEB9F

INT, POINTER, ARRAY_KIND, STRUCT, UNION, ENUM, TYPEDEF = 1, 2, 3, 4, 5, 6, 8
DATASEC, ENUM64 = 15, 19
QUALIFIERS = frozenset({TYPEDEF, 9, 10, 11, 18})  # typedef, volatile, const, restrict, type tag
TAIL = {INT: 4, ARRAY_KIND: 12, 14: 4, 17: 4}  # fixed bytes after a type's head
TAIL_EACH = {STRUCT: 12, UNION: 12, ENUM: 8, 13: 8, DATASEC: 12, ENUM64: 12}  # bytes for each member


class Member(Value):
    name: str
    type: int


class Btf:
    """The table of types; a type is known by its place in it, from 1 on."""

    def __init__(self, data: bytes) -> None:
        magic, _version, _flags, head, types, types_length, strings, strings_length = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise BadObject("the section .BTF is none")
        self._types = data[head + types : head + types + types_length]
        self._strings = data[head + strings : head + strings + strings_length]
        self._starts = [0]
        offset = 0
        while offset < len(self._types):
            self._starts.append(offset)
            _name, info, _size = TYPE.unpack_from(self._types, offset)
            kind, count = info >> 24 & 31, info & 0xFFFF
            offset += TYPE.size + TAIL.get(kind, 0) + TAIL_EACH.get(kind, 0) * count

    def variables(self, section: str) -> dict[str, int]:
        """The variables of a section and their types. Where they lie is the linker's to say, in the symbols."""
        for place in range(1, len(self._starts)):
            kind, count, tail = self._head(place)[1:]
            if kind == DATASEC and self._name(place) == section:
                found = [VARIABLE.unpack_from(self._types, tail + VARIABLE.size * i)[0] for i in range(count)]
                return {self._name(variable): self._of(variable) for variable in found}
        return {}

    def members(self, place: int) -> list[Member]:
        """The members of the struct that a type is in the end."""
        _of, kind, count, tail = self._head(self._plain(place))
        if kind not in {STRUCT, UNION}:
            raise BadObject(f"type {place} is no struct")
        found = (MEMBER.unpack_from(self._types, tail + MEMBER.size * i) for i in range(count))
        return [Member(self._text(name), kind) for name, kind, _offset in found]

    def number(self, place: int) -> int:
        """What `__uint(name, N)` says: N."""
        pointee = self._of(place)
        return int(ARRAY.unpack_from(self._types, self._head(self._plain(pointee))[3])[2])

    def pointee_size(self, place: int) -> int:
        """What `__type(name, T)` says: sizeof(T)."""
        return self.size(self._of(place))

    def size(self, place: int) -> int:
        place = self._plain(place)
        of, kind, _count, tail = self._head(place)
        if kind == ARRAY_KIND:
            element, _index, count = ARRAY.unpack_from(self._types, tail)
            return int(count) * self.size(element)
        return 8 if kind == POINTER else of

    def _head(self, place: int) -> tuple[int, int, int, int]:
        """Of a type: size or type, kind, members, where they begin."""
        start = self._starts[place]
        _name, info, of = TYPE.unpack_from(self._types, start)
        return of, info >> 24 & 31, info & 0xFFFF, start + TYPE.size

    def _of(self, place: int) -> int:
        return self._head(place)[0]

    def _plain(self, place: int) -> int:
        """The type behind typedefs and qualifiers."""
        while self._head(place)[1] in QUALIFIERS:
            place = self._of(place)
        return place

    def _name(self, place: int) -> str:
        return self._text(TYPE.unpack_from(self._types, self._starts[place])[0])

    def _text(self, start: int) -> str:
        return self._strings[start : self._strings.index(b"\0", start)].decode()
