"""XFRM's netlink messages, packed and unpacked. Pure. Source: include/uapi/linux/xfrm.h."""

import struct
from ipaddress import ip_address, ip_network

from clew.base.addresses import family_of
from clew.kernel.nfnetlink import attribute, attributes
from clew.kernel.xfrm.port import WINDOW, Direction, Policy, State, Template

NEW_STATE, DELETE_STATE, GET_STATE = 0x10, 0x11, 0x12
NEW_POLICY, DELETE_POLICY, GET_POLICY, UPDATE_POLICY = 0x13, 0x14, 0x15, 0x19
TEMPLATE, ALGORITHM_AEAD, REPLAY_ESN, IF_ID = 5, 18, 23, 31  # XFRMA_*

AF_INET, AF_INET6 = 2, 10
ESP, TUNNEL = 50, 1
AF_UNSPEC_FLAG, ESN_FLAG = 32, 128
ALLOW, BLOCK = 0, 1
DIRECTIONS: tuple[Direction, ...] = ("in", "out", "fwd")
ALGORITHM = b"rfc4106(gcm(aes))"
ICV_BITS = 128
ANY_ALGORITHM = 0xFFFFFFFF
NO_LIMIT = struct.pack("=4Q", *[2**64 - 1] * 4) + bytes(32)  # of bytes and packets; seconds count from 0
NOTHING_YET = bytes(32)  # xfrm_lifetime_cur

_SELECTOR = struct.Struct("=16s16s8xHBBB3xiI")  # target, source, ports, family, lengths, protocol, link, user
_STATE = struct.Struct("=56s16s4sB3x16s64s32s12sIIHBBB7x")
_STATE_ID = struct.Struct("=16s4sHBx")
_POLICY = struct.Struct("=56s64s32sIIBBBB4x")
_POLICY_ID = struct.Struct("=56sIB3x")
_TEMPLATE = struct.Struct("=16s4sB3xH2x16sIBBBxIII")
_CARRIED_AT = 56 + 24 + 16 + 64  # bytes in xfrm_usersa_info, where curlft begins


def add_state(state: State, key: bytes) -> bytes:
    """Both families inside: the selector is open, which only the flag keeps it."""
    body = _STATE.pack(
        bytes(_SELECTOR.size), _packed(state.target), state.spi.to_bytes(4, "big"), ESP, _packed(state.source),
        NO_LIMIT, NOTHING_YET, bytes(12), 0, state.reqid, _family(state.target), TUNNEL, 0, AF_UNSPEC_FLAG | ESN_FLAG,
    )  # fmt: skip
    algorithm = ALGORITHM.ljust(64, b"\0") + struct.pack("=II", len(key) * 8, ICV_BITS) + key
    replay = struct.pack("=6I", WINDOW // 32, 0, 0, 0, 0, WINDOW) + bytes(WINDOW // 8)
    return body + attribute(ALGORITHM_AEAD, algorithm) + attribute(REPLAY_ESN, replay) + _if_id(state.if_id)


def name_state(state: State) -> bytes:
    return _STATE_ID.pack(_packed(state.target), state.spi.to_bytes(4, "big"), _family(state.target), ESP)


def read_state(body: bytes) -> tuple[State, int] | None:
    """A state and the bytes it has carried; None: it is no ESP, or one that waits to be made."""
    _, target, spi, protocol, source, *_, reqid, family, _, _, _ = _STATE.unpack_from(body)
    if protocol != ESP or not any(spi):
        return None
    found = {kind: body[start:end] for kind, start, end in attributes(body, _STATE.size, len(body))}
    if ALGORITHM_AEAD not in found:
        return None
    (carried,) = struct.unpack_from("=Q", body, _CARRIED_AT)
    addresses = _text(source, family), _text(target, family)
    return State(*addresses, int.from_bytes(spi, "big"), reqid, _number(found.get(IF_ID))), carried


def put_policy(policy: Policy) -> bytes:
    direction, action = DIRECTIONS.index(policy.direction), BLOCK if policy.needs is None else ALLOW
    body = _POLICY.pack(
        _selector(policy), NO_LIMIT, NOTHING_YET, policy.priority, 0, direction, action, 0, 0,
    )  # fmt: skip
    needs = b"" if policy.needs is None else attribute(TEMPLATE, _template(policy.needs, policy))
    return body + needs + _if_id(policy.if_id)


def name_policy(policy: Policy) -> bytes:
    return _POLICY_ID.pack(_selector(policy), 0, DIRECTIONS.index(policy.direction)) + _if_id(policy.if_id)


def read_policy(body: bytes) -> Policy | None:
    """None: it is a socket's own, or asks for more than one plain ESP tunnel."""
    selector, _, _, priority, _, direction, action, _, _ = _POLICY.unpack_from(body)
    if direction >= len(DIRECTIONS):
        return None
    found = {kind: body[start:end] for kind, start, end in attributes(body, _POLICY.size, len(body))}
    needs = None
    if action == ALLOW:
        if len(found.get(TEMPLATE, b"")) != _TEMPLATE.size:
            return None
        needs = _read_template(found[TEMPLATE])
    target, source, family, *lengths, _, _, _ = _SELECTOR.unpack(selector)
    to, of = (f"{_text(ip, family)}/{length}" for ip, length in zip((target, source), lengths, strict=True))
    return Policy(DIRECTIONS[direction], of, to, needs, _number(found.get(IF_ID)), priority)


def _selector(policy: Policy) -> bytes:
    to, of = ip_network(policy.target), ip_network(policy.source)
    packed = (ip.network_address.packed.ljust(16, b"\0") for ip in (to, of))
    return _SELECTOR.pack(*packed, _family(policy.target), to.prefixlen, of.prefixlen, 0, 0, 0)


def _template(needs: Template, policy: Policy) -> bytes:
    outer = needs.target or policy.target
    return _TEMPLATE.pack(
        _packed(needs.target), needs.spi.to_bytes(4, "big"), ESP, _family(outer), _packed(needs.source), needs.reqid,
        TUNNEL, 0, 0, ANY_ALGORITHM, ANY_ALGORITHM, ANY_ALGORITHM,
    )  # fmt: skip


def _read_template(data: bytes) -> Template:
    target, spi, _, family, source, reqid, *_ = _TEMPLATE.unpack(data)
    of, to = (_text(ip, family) if any(ip) else "" for ip in (source, target))
    return Template(reqid, of, to, int.from_bytes(spi, "big"))


def _if_id(number: int) -> bytes:
    return attribute(IF_ID, struct.pack("=I", number)) if number else b""


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, "little") if data else 0


def _family(text: str) -> int:
    return AF_INET6 if family_of(text) == 6 else AF_INET


def _packed(ip: str) -> bytes:
    return ip_address(ip).packed.ljust(16, b"\0") if ip else bytes(16)


def _text(packed: bytes, family: int) -> str:
    return str(ip_address(packed if family == AF_INET6 else packed[:4]))
