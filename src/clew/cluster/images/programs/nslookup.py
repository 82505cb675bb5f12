"""`nslookup` as small images knew it: the C library's resolver asks, so resolv.conf, ndots and search list all count.

Debian's busybox has a newer nslookup with a resolver of its own, which applies the search list to undotted names only;
lessons on cluster DNS expect the older one's behaviour and its `Address 1: IP NAME` lines. The program is started for
each question, so it imports only what the interpreter has built in.
"""

import _socket
import sys

RESOLV_CONF = "/etc/resolv.conf"


def main(arguments: list[str]) -> int:
    """`nslookup NAME [SERVER]`; 0 if the name has an address, 1 if not."""
    if not 1 <= len(arguments) <= 2 or arguments[0].startswith("-"):
        sys.stderr.write("Usage: nslookup HOST [SERVER]\n\nQuery the name server for the addresses of a host\n")
        return 1
    server = nameserver(RESOLV_CONF)
    if len(arguments) == 2:
        server = addresses(arguments[1])[0] if addresses(arguments[1]) else ""
        if not server or ":" in server or not ask_only(server):
            sys.stderr.write(f"nslookup: can't use the server '{arguments[1]}'\n")
            return 1
    sys.stdout.write(paragraph("Server:", server, [(server, name_of(server))]) + "\n")
    sys.stdout.flush()
    found = addresses(arguments[0])
    if not found:
        sys.stderr.write(f"nslookup: can't resolve '{arguments[0]}'\n")
        return 1
    sys.stdout.write(paragraph("Name:", arguments[0], [(address, name_of(address)) for address in found]))
    return 0


def paragraph(header: str, name: str, found: list[tuple[str, str]]) -> str:
    """A header line, then a line for each (address, name of that address or "")."""
    lines = [f"{header:<10} {name}"]
    lines += [f"Address {n}: {address} {owner}".rstrip() for n, (address, owner) in enumerate(found, 1)]
    return "\n".join(lines) + "\n"


def nameserver(path: str) -> str:
    """The first nameserver of a resolv.conf; the resolver's own default where there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123  (pathlib is 10 ms of imports)
            for line in file:
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver":
                    return words[1]
    except OSError:
        pass
    return "127.0.0.1"


def addresses(name: str) -> list[str]:
    try:
        answers = _socket.getaddrinfo(name, None, 0, _socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(answer[4][0]) for answer in answers]


def name_of(address: str) -> str:
    """What the address is called, or "" if it has no name."""
    try:
        return _socket.getnameinfo((address, 0), _socket.NI_NAMEREQD)[0]
    except OSError:
        return ""


def ask_only(server: str) -> bool:
    """Make the C library ask `server` (IPv4) instead of resolv.conf's: its state has a place for the addresses."""
    import ctypes  # noqa: PLC0415  (rarely needed, slow to import)

    libc = ctypes.CDLL(None)
    try:
        init, state_of = (getattr(libc, name) for name in ("__res_init", "__res_state"))
    except AttributeError:
        return False
    init()
    state_of.restype = ctypes.c_void_p
    base = state_of()
    # struct __res_state: int retrans, retry; unsigned long options; int nscount; struct sockaddr_in nsaddr_list[3]
    count_at = base + 2 * ctypes.sizeof(ctypes.c_int) + ctypes.sizeof(ctypes.c_ulong)
    ctypes.c_int.from_address(count_at).value = 1
    family_port_address = _socket.AF_INET.to_bytes(2, sys.byteorder) + (53).to_bytes(2, "big")
    ctypes.memmove(count_at + 4, family_port_address + _socket.inet_aton(server), 8)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
