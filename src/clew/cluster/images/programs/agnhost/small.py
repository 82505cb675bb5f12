"""The short subcommands: pause, what resolv.conf and hosts say, the arguments given, a server that resets."""

import _thread
import signal
import socket
import struct
import sys

from .flags import parse
from .signals import catch
from .wire import listener, serve_streams

RESOLV_CONF = "/etc/resolv.conf"


def pause(arguments: list[str]) -> int:
    """Sleep until a signal: status 1 after SIGINT, 2 after SIGTERM."""
    parse(arguments, {})
    wait = catch(signal.SIGINT, signal.SIGTERM)
    sys.stdout.write("Paused\n")
    sys.stdout.flush()
    return 1 if wait() == signal.SIGINT else 2


def dns_suffix(arguments: list[str]) -> int:
    parse(arguments, {})
    sys.stdout.write(",".join(resolver_words("search")) + "\n")
    return 0


def dns_server_list(arguments: list[str]) -> int:
    parse(arguments, {})
    sys.stdout.write(",".join(resolver_words("nameserver")) + "\n")
    return 0


def etc_hosts(arguments: list[str]) -> int:
    parse(arguments, {})
    with open("/etc/hosts", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  (pathlib is slow to import)
        sys.stdout.write(file.read() + "\n")
    return 0


def entrypoint_tester(arguments: list[str]) -> int:
    sys.stdout.write(str([sys.argv[0], *arguments]).replace("', '", " ").replace("'", "") + "\n")
    return 0


def resolver_words(key: str, path: str = RESOLV_CONF) -> list[str]:
    """The values of a resolv.conf option: every nameserver line, the last search line."""
    found: list[str] = []
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        for line in file:
            words = line.split()
            if words and words[0] == key:
                found = [*found, words[1]] if key == "nameserver" and len(words) > 1 else words[1:]
    return found


def tcp_reset(arguments: list[str]) -> int:
    """Read one byte, then close: a client that sent more gets a reset."""
    values, _ = parse(arguments, {"port": 8080})
    wait = catch(signal.SIGINT, signal.SIGTERM)

    def talk(connection: socket.socket, peer: tuple[object, ...]) -> None:
        del peer
        if len(connection.recv(1)) == 1 and connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    _thread.start_new_thread(serve_streams, (listener(int(values["port"])), talk))
    wait()
    return 0
