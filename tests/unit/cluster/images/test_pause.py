import struct

import pytest

from clew.cluster.images.stand_ins.pause import program


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_headers_describe_the_file(machine: str, number: int) -> None:
    elf = program(machine)
    assert elf[:7] == b"\x7fELF\x02\x01\x01"
    kind, found, _, entry, phoff = struct.unpack_from("<HHIQQ", elf, 16)
    assert (kind, found, phoff) == (2, number, 64)
    load, flags, offset, address, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", elf, phoff)
    assert (load, flags, offset, in_file, in_memory) == (1, 5, 0, len(elf), len(elf))
    assert entry == address + 64 + 56
    assert len(elf) < 400


def test_the_arm64_instructions_point_at_the_data() -> None:
    """Not run on this processor; the addresses are worked out again from the encoding."""
    elf = program("aarch64")
    words = struct.unpack_from(f"<{(len(elf) - 120) // 4}I", elf, 120)
    targets = []
    for n, word in enumerate(words):
        if word & 0x9F000000 == 0x10000000:  # adr
            distance = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
            targets.append(120 + 4 * n + distance)
    data = len(elf) - 40
    assert targets == [data, data + 32, data + 32]
    assert struct.unpack_from("<QQQQQ", elf, data) == (1, 0, 0, 0, 1 << 1 | 1 << 14)
    loops = [n for n, word in enumerate(words) if word & 0xFF000000 == 0xB7000000]
    offset = (words[loops[0]] >> 5 & 0x3FFF) - 0x4000
    assert words[loops[0] + offset] & 0x9F00001F == 0x10000000  # back to the adr that loads the signal set
