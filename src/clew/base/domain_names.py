"""Domain names in wire form (RFC 1035 section 3.1), for whoever writes one. Reading messages is servers/dns's."""


def name_to_wire(text: str) -> bytes:
    """`"www.example"` or `"www.example."` to wire form; ValueError on an empty or too long label or name."""
    text = text.removesuffix(".")
    if not text:
        return b"\0"
    if not text.isascii():
        raise ValueError(f"not a domain name: {text!r} (write it as resolvers ask for it, in letters of ASCII: xn--…)")
    parts = [label.encode() for label in text.split(".")]
    if any(not 0 < len(part) < 64 for part in parts):
        raise ValueError(f"not a domain name: {text!r} (a label has 1 to 63 bytes)")
    wire = b"".join(bytes((len(part),)) + part for part in parts) + b"\0"
    if len(wire) > 255:
        raise ValueError(f"not a domain name: {text!r} (longer than 255 bytes)")
    return wire
