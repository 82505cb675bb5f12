"""A compiled object as a value: its maps, and its programs linked with the functions they call. Pure.

What only a running kernel can fill in - descriptors of maps - stays open as a list of references. An object has no
writable variables (state belongs into maps, where a restart finds it), no callbacks and no CO-RE relocations: the
contexts of traffic control and cgroup programs are rewritten by the kernel itself.
"""

import errno
from collections.abc import Mapping
from pathlib import Path
from struct import Struct, pack_into, unpack_from

from clew.base.value import Value
from clew.kernel.bpf import elf
from clew.kernel.bpf.btf import Btf
from clew.kernel.bpf.errors import BadObject
from clew.kernel.errors import KernelError

FOLDER = Path(__file__).parent / "programs"  # filled by the build hook from bpf/*.bpf.c
INSTRUCTION = Struct("<BBhi")  # opcode, registers, offset, immediate
LOAD_64, CALL = 0x18, 0x85
TO_MAP, TO_MAP_VALUE, TO_FUNCTION = 1, 2, 1  # source registers that give the immediate its meaning
R_BPF_64_64, R_BPF_64_32 = 1, 10
UNDEFINED = 0  # section of a symbol that the object itself does not have


class MapSpec(Value):
    name: str
    kind: int  # BPF_MAP_TYPE_*
    key_size: int
    value_size: int
    entries: int
    flags: int = 0


class Reference(Value):
    """An instruction that takes the descriptor of a map, or of constants and a place among them."""

    instruction: int
    name: str  # of the map, or of the section of constants
    constant: bool = False
    offset: int = 0


class KernelCall(Value):
    """An instruction that calls one of the kernel's own functions (a kfunc), known to each kernel by another number."""

    instruction: int
    function: str


class ProgramSpec(Value):
    name: str
    section: str  # "tc", "cgroup/connect4": says what it may be attached to
    code: bytes
    references: tuple[Reference, ...] = ()
    kernel_calls: tuple[KernelCall, ...] = ()


class Constant(Value):
    section: str
    offset: int
    size: int


class Image(Value):
    name: str
    license: bytes
    maps: Mapping[str, MapSpec]
    programs: Mapping[str, ProgramSpec]
    sections: Mapping[str, bytes]  # constants
    constants: Mapping[str, Constant]


def image(name: str) -> Image:
    """The object that the package was built with; KernelError (ENOENT) says how to get one that is not there."""
    path = FOLDER / f"{name}.bpf.o"
    try:
        content = path.read_bytes()
    except FileNotFoundError as absent:
        detail = "this package was built without its eBPF programs: install clang and libbpf-dev, then build it again"
        raise KernelError(errno.ENOENT, f"read the eBPF programs {name}", detail=detail) from absent
    return parse(name, content)


def parse(name: str, content: bytes) -> Image:
    """BadObject where `content` is no object, or one with something that nothing here provides for."""
    found = elf.parse(content, name)
    _refuse_what_is_unknown(found, name)
    types = found.named(".BTF")
    if types is None:
        raise BadObject(f"{name} has no types: compile it with -g")
    linker = _Linker(found, name)
    license_section = found.named("license")
    return Image(
        name=name,
        license=license_section.data if license_section else b"\0",
        maps=_maps(Btf(types.data)),
        programs={each.name: each for each in linker.programs()},
        sections={each.name: each.data for each in found.sections if each.name.startswith(".rodata")},
        constants={
            symbol.name: Constant(found.sections[symbol.section].name, symbol.value, symbol.size)
            for symbol in found.symbols
            if symbol.name and symbol.section < len(found.sections)
            if found.sections[symbol.section].name.startswith(".rodata")
        },
    )


def _refuse_what_is_unknown(found: elf.Elf, name: str) -> None:
    for section in found.sections:
        if section.name.startswith((".data", ".bss")) and section.data:
            raise BadObject(f"{name} has variables ({section.name}): keep state in maps")
    more = found.named(".BTF.ext")
    if more is not None and unpack_from("<I", more.data, 4)[0] >= 32 and unpack_from("<I", more.data, 28)[0]:
        raise BadObject(f"{name} has CO-RE relocations")


def _maps(types: Btf) -> dict[str, MapSpec]:
    made = {}
    for name, place in types.variables(".maps").items():
        members = {member.name: member.type for member in types.members(place)}
        numbers = {
            field: types.number(members[field]) for field in ("type", "max_entries", "map_flags") if field in members
        }
        sizes = {field: types.pointee_size(members[field]) for field in ("key", "value") if field in members}
        plain = {field: types.number(members[field]) for field in ("key_size", "value_size") if field in members}
        made[name] = MapSpec(
            name,
            numbers["type"],
            key_size=sizes.get("key", plain.get("key_size", 0)),
            value_size=sizes.get("value", plain.get("value_size", 0)),
            entries=numbers.get("max_entries", 0),
            flags=numbers.get("map_flags", 0),
        )
    return made


class _Linker:
    """Puts each entry program and the functions that it calls behind one another."""

    def __init__(self, found: elf.Elf, name: str) -> None:
        self._elf = found
        self._name = name
        self._functions = {
            (symbol.section, symbol.value): symbol for symbol in found.symbols if symbol.function and symbol.size
        }
        self._mends = {
            (index, each.offset): each
            for index, section in enumerate(found.sections)
            if section.executable
            for each in found.relocations(index)
        }

    def programs(self) -> list[ProgramSpec]:
        """Functions in a section of their own kind are entries; those in .text are called."""
        return [
            self._link(function)
            for (index, _value), function in sorted(self._functions.items())
            if self._elf.sections[index].name != ".text"
        ]

    def _link(self, entry: elf.Symbol) -> ProgramSpec:
        code = bytearray()
        references: list[Reference] = []
        kernels: list[KernelCall] = []
        calls: list[tuple[int, elf.Symbol]] = []  # instruction, what it calls
        starts: dict[tuple[int, int], int] = {}
        waiting = [entry]
        while waiting:
            function = waiting.pop(0)
            if (function.section, function.value) in starts:
                continue
            start = starts[function.section, function.value] = len(code) // 8
            code += self._elf.sections[function.section].data[function.value : function.value + function.size]
            references += self._references(function, start, code)
            kernels += self._kernel_calls(function, start)
            called = self._calls(function, start)
            calls += called
            waiting += [target for _, target in called]
        for instruction, target in calls:
            pack_into("<i", code, 8 * instruction + 4, starts[target.section, target.value] - instruction - 1)
        section = self._elf.sections[entry.section].name
        return ProgramSpec(entry.name, section, bytes(code), tuple(references), tuple(kernels))

    def _references(self, function: elf.Symbol, start: int, code: bytearray) -> list[Reference]:
        found = []
        for at in range(0, function.size, 8):
            mend = self._mends.get((function.section, function.value + at))
            if mend is None or mend.kind == R_BPF_64_32:
                continue
            section = self._elf.sections[mend.symbol.section].name
            instruction = start + at // 8
            if section == ".maps":
                found.append(Reference(instruction, mend.symbol.name))
            elif section.startswith(".rodata"):
                (addend,) = unpack_from("<i", code, 8 * instruction + 4)
                found.append(Reference(instruction, section, constant=True, offset=mend.symbol.value + addend))
            else:
                raise BadObject(f"{self._name}: {function.name} takes the address of something in {section}")
        return found

    def _kernel_calls(self, function: elf.Symbol, start: int) -> list[KernelCall]:
        """Calls of what is declared `__ksym`: the object has no such function, so the kernel must."""
        return [
            KernelCall(start + at // 8, mend.symbol.name)
            for at in range(0, function.size, 8)
            if (mend := self._mends.get((function.section, function.value + at))) is not None
            and mend.kind == R_BPF_64_32
            and mend.symbol.section == UNDEFINED
        ]

    def _calls(self, function: elf.Symbol, start: int) -> list[tuple[int, elf.Symbol]]:
        """Calls of functions of the object. One within its section is resolved by the compiler, relative to itself."""
        body = self._elf.sections[function.section].data
        found = []
        for place in range(function.value, function.value + function.size, 8):
            opcode, registers, _offset, immediate = INSTRUCTION.unpack_from(body, place)
            if opcode != CALL or registers >> 4 != TO_FUNCTION:
                continue
            mend = self._mends.get((function.section, place))
            if mend is not None and mend.symbol.section == UNDEFINED:
                continue
            section = function.section if mend is None else mend.symbol.section
            base = place if mend is None else mend.symbol.value
            target = self._functions.get((section, base + 8 * (immediate + 1)))
            if target is None:
                raise BadObject(f"{self._name}: {function.name} calls what is not there")
            found.append((start + (place - function.value) // 8, target))
        return found
