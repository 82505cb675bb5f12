r"""The messages on the agent's socket: one call a connection, one answer. Pure; the plugin knows the rules by itself.

A call is a line `clew-cni 1 LENGTH`, then LENGTH bytes of `KEY=VALUE\0` (every CNI_ variable), then the configuration
as it came on standard input, to the end of the stream. The namespace's descriptor rides on the first bytes. The answer
is one byte, the plugin's exit status as a digit, and then what the plugin prints. The same framing, without a
descriptor, is a tombstone's file: a DEL that waits for an agent.
"""

from clew.cni.errors import CniError, Code

MAGIC = b"clew-cni 1 "
LARGEST = 1 << 20  # bytes of one call


def encode_call(env: dict[str, str], config: bytes) -> bytes:
    block = b"".join(f"{key}={value}\0".encode() for key, value in env.items())
    return MAGIC + b"%d\n" % len(block) + block + config


def decode_call(data: bytes) -> tuple[dict[str, str], bytes]:
    """(environment, configuration); CniError (6) for anything else."""
    head, newline, rest = data.partition(b"\n")
    length = head.removeprefix(MAGIC)
    if not newline or not head.startswith(MAGIC) or not length.isdigit() or int(length) > len(rest):
        raise CniError(Code.DECODING_FAILURE, "not a call of clew-cni", "plugin and agent may be of different versions")
    block, config = rest[: int(length)], rest[int(length) :]
    pairs = (pair.partition("=") for pair in block.decode(errors="surrogateescape").split("\0") if pair)
    return {key: value for key, _, value in pairs}, config


def encode_answer(body: bytes, *, failed: bool) -> bytes:
    return (b"1" if failed else b"0") + body
