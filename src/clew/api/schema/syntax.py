"""Why a text is no JSON, in the words of Go's encoding/json, which users of kubectl know.

Called once a body could not be decoded: nothing here is on the way of a good one.
"""

import json


def syntax_error(raw: bytes) -> str:
    """`invalid character 'x' looking for beginning of value`, or the end of the input that came too early."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as wrong:
        return f"invalid character {_quoted(chr(raw[wrong.start]))} looking for beginning of value"
    try:
        json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as wrong:
        return _worded(wrong, text)
    except ValueError as constant:
        return str(constant)
    return "json: cannot unmarshal"


def _refuse(constant: str) -> object:
    """Python reads NaN and Infinity; JSON has neither."""
    raise ValueError(f"invalid character {_quoted(constant[0])} looking for beginning of value")


_PLACES = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Expecting value": "looking for beginning of value",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": r"in \u hexadecimal character escape",
}


def _worded(wrong: json.JSONDecodeError, text: str) -> str:
    place = wrong.pos
    message = wrong.msg.removesuffix(": ").rstrip(":")
    if message.startswith("Illegal trailing comma"):  # told at the comma; Go stumbles over what follows it
        place += 1
    if message.startswith("Invalid \\escape"):
        message, place = "Invalid \\escape", place + 1
    while place < len(text) and text[place].isspace() and not message.startswith("Invalid"):
        place += 1
    if place >= len(text) or message.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    if message == "Expecting ',' delimiter":
        return f"invalid character {_quoted(text[place])} {_after(text[: wrong.pos])}"
    return f"invalid character {_quoted(text[place])} {_PLACES.get(message, 'looking for beginning of value')}"


def _after(before: str) -> str:
    """Whether a comma was missing in an object or in an array."""
    depth, inside, escaped = [""], False, False
    for letter in before:
        if inside:
            inside = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        elif letter in "{[":
            depth.append(letter)
        elif letter in "}]":
            depth.pop()
    return "after array element" if depth[-1] == "[" else "after object key:value pair"


def _quoted(letter: str) -> str:
    """As Go's `%q` of a character: with its own quote and control characters escaped."""
    special = {"'": r"'\''", '"': "'\"'", "\n": r"'\n'", "\r": r"'\r'", "\t": r"'\t'", "\\": r"'\\'"}
    if letter in special:
        return special[letter]
    return f"'{letter}'" if letter.isprintable() else f"'\\x{ord(letter):02x}'"
