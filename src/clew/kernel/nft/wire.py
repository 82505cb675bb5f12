"""nfnetlink messages for elements of nftables sets and maps: bytes in, bytes out. Opens no socket.

Source: include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h. A netlink attribute holds 64 KiB, so one set's elements
are spread over several messages of one batch.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from clew.kernel.nfnetlink import NESTED, attribute, attributes, head, nested
from clew.kernel.nft.port import ElementSet, Family

SUBSYSTEM = 10 << 8
NEW_SET_ELEMENT, GET_SET_ELEMENT, DELETE_SET_ELEMENT = (SUBSYSTEM | n for n in (12, 13, 14))
GET_CHAIN, GET_RULE, GET_SET = SUBSYSTEM | 4, SUBSYSTEM | 7, SUBSYSTEM | 10
NEW_GENERATION, GET_GENERATION = SUBSYSTEM | 15, SUBSYSTEM | 16
BATCH_BEGIN, BATCH_END = 0x10, 0x11
FAMILIES: Mapping[Family, int] = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}

TABLE, SET, ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
LIST_ELEMENT, VALUE = 1, 1
KEY, DATA, FLAGS, USERDATA, KEY_END = 1, 2, 3, 6, 10  # NFTA_SET_ELEM_*
CATCH_ALL = 2  # NFT_SET_ELEM_CATCHALL
COMMENT = 0  # NFTNL_UDATA_SET_ELEM_COMMENT

# What of a chain, a rule and a set does not change by itself: attribute numbers after the table's name (1).
LASTING = {GET_CHAIN: {3, 4, 5, 7}, GET_RULE: {2, 4}, GET_SET: {2, 3, 4, 5, 6, 7}}

SET_NAME, SET_COUNT = 2, 20  # NFTA_SET_*

LIMIT = 60_000  # bytes of elements in one message


def of_set(target: ElementSet) -> bytes:
    """The attributes that name a set."""
    return attribute(TABLE, target.table.encode() + b"\0") + attribute(SET, target.name.encode() + b"\0")


def count(target: ElementSet, sets: Iterable[bytes]) -> int | None:
    """The elements that a set has by its description among `sets`, all those of its table; None where it says none."""
    name = target.name.encode() + b"\0"
    for described in sets:
        fields = {kind: described[begin:end] for kind, begin, end in attributes(described, 0, len(described))}
        if fields.get(SET_NAME) == name and SET_COUNT in fields:
            return int.from_bytes(fields[SET_COUNT], "big")
    return None


def removals(target: ElementSet, keys: Collection[bytes]) -> Iterator[bytes]:
    """Payloads of DELETE_SET_ELEMENT messages."""
    key_length = target.key_length
    if target.interval:
        return _spread(target, (nested(LIST_ELEMENT, _range(key, key_length)) for key in keys))
    begin = head(12 + key_length, LIST_ELEMENT | NESTED) + _key_head(key_length)
    return _spread(target, (begin + key for key in keys))


def additions(target: ElementSet, elements: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Payloads of NEW_SET_ELEMENT messages."""
    key_length, data_length = target.key_length, target.data_length
    if target.interval:
        return _spread(
            target,
            (
                nested(LIST_ELEMENT, _range(key, key_length) + _tail(value, data_length))
                for key, value in elements.items()
            ),
        )
    key_head = _key_head(key_length)
    data_head = b""
    plain = 12 + key_length
    if data_length:
        data_head = head(8 + data_length, DATA | NESTED) + head(4 + data_length, VALUE)
        plain += 8 + data_length
    begin = head(plain, LIST_ELEMENT | NESTED) + key_head

    def one(key: bytes, value: bytes) -> bytes:
        if len(value) == data_length:
            return begin + key + data_head + value
        return nested(LIST_ELEMENT, key_head + key + _tail(value, data_length))

    return _spread(target, (one(key, value) for key, value in elements.items()))


def _key_head(key_length: int) -> bytes:
    return head(8 + key_length, KEY | NESTED) + head(4 + key_length, VALUE)


def _range(key: bytes, key_length: int) -> bytes:
    first, last = key[:key_length], key[key_length:]
    return nested(KEY, attribute(VALUE, first)) + nested(KEY_END, attribute(VALUE, last))


def _tail(value: bytes, data_length: int) -> bytes:
    """Data and comment of an element."""
    data = nested(DATA, attribute(VALUE, value[:data_length])) if data_length else b""
    comment = value[data_length:]
    if not comment:
        return data
    return data + attribute(USERDATA, bytes((COMMENT, len(comment) + 1)) + comment + b"\0")


def _spread(target: ElementSet, elements: Iterator[bytes]) -> Iterator[bytes]:
    """Elements packed into as few payloads as the attribute's limit allows."""
    name = of_set(target)
    part: list[bytes] = []
    size = 0
    for element in elements:
        if size + len(element) > LIMIT:
            yield name + nested(ELEMENTS, b"".join(part))
            part, size = [], 0
        part.append(element)
        size += len(element)
    if part:
        yield name + nested(ELEMENTS, b"".join(part))


def lasting(request: int, data: bytes, start: int, end: int) -> bytes:
    """What of a dumped chain, rule or set stays the same until somebody changes it."""
    wanted = LASTING[request]
    return b"".join(data[begin - 4 : finish] for kind, begin, finish in attributes(data, start, end) if kind in wanted)


def read_elements(target: ElementSet, data: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """The elements in one NEW_SET_ELEMENT message of a dump (`start` is after nfgenmsg), in ElementChange's words."""
    for kind, begin, finish in attributes(data, start, end):
        if kind == ELEMENTS:
            for _, first, last in attributes(data, begin, finish):
                element = _read_element(target, data, first, last)
                if element is not None:
                    yield element


def _read_element(target: ElementSet, data: bytes, start: int, end: int) -> tuple[bytes, bytes] | None:
    key = last = value = comment = b""
    for kind, begin, finish in attributes(data, start, end):
        if kind == KEY:
            key = data[begin + 4 : finish]
        elif kind == KEY_END:
            last = data[begin + 4 : finish]
        elif kind == DATA:
            value = data[begin + 4 : finish]
        elif kind == USERDATA:
            comment = _comment(data[begin:finish])
        elif kind == FLAGS and data[finish - 1] & CATCH_ALL:
            return None
    return (key + (last or key) if target.interval else key), value + comment


def _comment(userdata: bytes) -> bytes:
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == COMMENT:
            return userdata[offset + 2 : offset + 2 + length].rstrip(b"\0")
        offset += 2 + length
    return b""
