"""Just enough of ELF for an object that `clang -target bpf` made: sections, symbols, relocations. Pure.

Source: System V ABI, chapter 4 (object files); 64 bit, little endian, relocatable.
"""

from struct import Struct, unpack_from

from clew.base.value import Value
from clew.kernel.bpf.errors import BadObject

HEADER = b"\x7fELF\x02\x01\x01"
EM_BPF = 247
SECTION = Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, link, info, alignment, entry size
SYMBOL = Struct("<IBBHQQ")  # name, info, other, section, value, size
RELOCATION = Struct("<QQ")  # offset, info
SHT_PROGBITS, SHT_SYMTAB, SHT_NOBITS, SHT_REL = 1, 2, 8, 9
SHF_EXECINSTR = 4
STT_FUNC = 2


class Section(Value):
    name: str
    kind: int
    flags: int
    data: bytes
    link: int
    info: int

    @property
    def executable(self) -> bool:
        return self.kind == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR)


class Symbol(Value):
    name: str  # empty for a section's own
    section: int
    value: int  # offset into the section
    size: int
    function: bool


class Relocation(Value):
    offset: int  # into the section that it mends
    kind: int
    symbol: Symbol


class Elf(Value):
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    def named(self, name: str) -> Section | None:
        return next((section for section in self.sections if section.name == name), None)

    def relocations(self, index: int) -> list[Relocation]:
        """What is to be mended in the section with this index."""
        tables = (section for section in self.sections if section.kind == SHT_REL and section.info == index)
        return [
            Relocation(offset, info & 0xFFFFFFFF, self.symbols[info >> 32])
            for table in tables
            for offset, info in RELOCATION.iter_unpack(table.data)
        ]


def parse(content: bytes, what: str) -> Elf:
    """BadObject where `content` is no BPF object; `what` names it."""
    if not content.startswith(HEADER) or len(content) < 64 or unpack_from("<H", content, 18)[0] != EM_BPF:
        raise BadObject(f"{what} is no BPF object (64 bit, little endian)")
    (start,) = unpack_from("<Q", content, 40)
    count, names_at = unpack_from("<HH", content, 60)
    heads = [SECTION.unpack_from(content, start + SECTION.size * i) for i in range(count)]
    names = heads[names_at][4]
    sections = tuple(_section(content, head, names) for head in heads)
    table = next((section for section in sections if section.kind == SHT_SYMTAB), None)
    if table is None:
        raise BadObject(f"{what} has no symbols")
    strings = sections[table.link].data
    symbols = tuple(
        Symbol(_text(strings, name), section, value, size, info & 15 == STT_FUNC)
        for name, info, _other, section, value, size in SYMBOL.iter_unpack(table.data)
    )
    return Elf(sections, symbols)


def _section(content: bytes, head: tuple[int, ...], names: int) -> Section:
    name, kind, flags, _address, offset, size, link, info, _align, _entry = head
    data = bytes(size) if kind == SHT_NOBITS else content[offset : offset + size]
    return Section(_text(content, names + name), kind, flags, data, link, info)


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()
