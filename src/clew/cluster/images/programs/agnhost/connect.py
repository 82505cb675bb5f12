"""`connect HOST:PORT`: one attempt, and a fixed first word on standard error that a test can compare.

UNKNOWN (bad arguments), DNS (no such name), TIMEOUT, REFUSED, OTHER (no route, …). Exit status 0 or 1.
"""

import errno
import os
import socket

from .flags import Flag, UsageError, leave, parse
from .wire import SCTP, join

FLAGS: dict[str, Flag] = {"timeout": 0.0, "protocol": "tcp", "udp-data": "hostname", "sctp-data": "hostname"}


class Failure(Exception):  # noqa: N818  (an outcome, printed as it is)
    """The line to print."""


def main(arguments: list[str]) -> int:
    values, rest = parse(arguments, FLAGS)
    if len(rest) != 1:
        raise UsageError(f"accepts 1 arg(s), received {len(rest)}")
    protocol = values["protocol"] or "tcp"
    if protocol not in {"tcp", "udp", "sctp"}:
        leave(f"Unsupported protocol\n{protocol}")
    limit = float(values["timeout"]) or None
    try:
        attempt(rest[0], str(protocol), limit, str(values[f"{protocol}-data"]) if protocol != "tcp" else "")
    except Failure as failure:
        leave(str(failure))
    return 0


def attempt(destination: str, protocol: str, limit: float | None, data: str) -> None:
    """Connect, and for udp and sctp exchange a line too; Failure says what happened instead."""
    host, port = split(destination)
    try:
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        found = socket.getaddrinfo(host or None, port, 0, kind)
    except (OSError, UnicodeError) as problem:
        raise Failure(f"DNS: lookup {host}: {_words(problem)}") from problem
    failure = Failure("OTHER: no address")
    for family, kind_found, _, _, address in found:
        try:
            with socket.socket(family, kind_found, SCTP if protocol == "sctp" else 0) as connection:
                connection.settimeout(limit)
                connection.connect(address)
                if protocol != "tcp":
                    connection.sendall(f"{data}\n".encode())
                    if not connection.recv(1024):
                        raise Failure("OTHER: no data received from the server")
                return
        except OSError as problem:
            failure = Failure(_outcome(problem, protocol, join(str(address[0]), str(address[1]))))
    raise failure


def split(destination: str) -> tuple[str, str]:
    """Host and port of `host:port` or `[v6]:port`."""
    if destination.startswith("["):
        host, bracket, port = destination[1:].partition("]:")
        if bracket and port:
            return host, port
    host, colon, port = destination.rpartition(":")
    if not colon or not port:
        raise Failure(f"UNKNOWN: address {destination}: missing port in address")
    if ":" in host:
        raise Failure(f"UNKNOWN: address {destination}: too many colons in address")
    return host, port


def _outcome(problem: OSError, protocol: str, where: str) -> str:
    if isinstance(problem, TimeoutError) or problem.errno == errno.ETIMEDOUT:
        return "TIMEOUT"
    if problem.errno == errno.ECONNREFUSED:
        return "REFUSED"
    return f"OTHER: dial {protocol} {where}: connect: {_words(problem)}"


def _words(problem: Exception) -> str:
    if isinstance(problem, socket.gaierror):
        return (
            "no such host" if problem.errno in {socket.EAI_NONAME, socket.EAI_NODATA} else str(problem.strerror).lower()
        )
    if isinstance(problem, OSError) and problem.errno:
        return os.strerror(problem.errno).lower()
    return str(problem)
