"""What netexec's /dial does: the same request again and again, by HTTP, UDP or SCTP, answers and errors collected."""

import os
import socket

from .wire import SCTP, Reply, Request, join, log

TIMEOUT = 5.0  # seconds, the original's own limit for each try


def dial(request: Request) -> Reply:
    host, port = request.value("host"), request.value("port")
    protocol = request.value("protocol").lower() or "http"
    wanted, tries_text = request.value("request"), request.value("tries")
    log(f"GET /dial?host={host}&protocol={protocol}&port={port}&request={wanted}&tries={tries_text}")
    try:
        tries = int(tries_text or "1")
    except ValueError:
        return Reply(f'tries parameter is invalid. strconv.Atoi: parsing "{tries_text}": invalid syntax\n', 400)
    if not wanted:
        return Reply("request parameter not specified. <nil>\n", 400)
    if protocol not in {"http", "udp", "sctp"}:
        return Reply(f"unsupported protocol. {protocol}\n", 400)
    try:
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        family, _, _, _, address = socket.getaddrinfo(host, port, 0, kind)[0]
    except (OSError, UnicodeError) as problem:
        return Reply(f"host and/or port param are invalid. lookup {host}: {problem}\n", 400)
    responses, errors, last = [], [], ""
    for _ in range(tries):
        last = ""
        try:
            if protocol == "http":
                last = _http(str(address[0]), int(address[1]), wanted)
            else:
                last = _exchange(family, kind, address, wanted, protocol)
            responses.append(last)
        except OSError as problem:
            errors.append(_sentence(problem, protocol, str(address[0]), int(address[1]), wanted))
    return Reply(_json({**({"errors": errors} if errors else {}), **({"responses": responses} if last else {})}))


def _http(host: str, port: int, path: str) -> str:
    import http.client  # noqa: PLC0415  (slow to import, and only dialling needs it)

    path = "/" + path
    for _ in range(10):  # redirects, as many as the original's client follows
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        try:
            connection.request("GET", path.replace(" ", "%20"))
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as problem:
            raise OSError(f"malformed HTTP response: {problem}") from problem
        finally:
            connection.close()
        location = answer.getheader("Location", "")
        if answer.status not in {301, 302, 303, 307, 308} or not location:
            return body.decode("utf-8", "replace")
        host, port, path = _next_hop(location, host, port)
    raise OSError("stopped after 10 redirects")


def _next_hop(location: str, host: str, port: int) -> tuple[str, int, str]:
    if not location.startswith("http://"):
        return host, port, location if location.startswith("/") else "/" + location
    authority, _, path = location[len("http://") :].partition("/")
    name, colon, number = authority.rpartition(":")
    if colon and number.isdigit():
        return name.strip("[]"), int(number), "/" + path
    return authority.strip("[]"), 80, "/" + path


def _exchange(family: int, kind: int, address: tuple[object, ...], text: str, protocol: str) -> str:
    with socket.socket(family, kind, SCTP if protocol == "sctp" else 0) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(address)
        connection.sendall(text.encode())
        return connection.recv(2048).decode("utf-8", "replace")


def _sentence(problem: OSError, protocol: str, host: str, port: int, request: str) -> str:
    where = join(host, port)
    if isinstance(problem, TimeoutError):
        text = "i/o timeout"
    else:
        text = os.strerror(problem.errno).lower() if problem.errno else str(problem)
    if protocol == "http":
        return (
            f'Get "http://{where}/{request}": dial tcp {where}: {text if text == "i/o timeout" else f"connect: {text}"}'
        )
    return f"reading from {protocol} connection failed. err:'read {protocol} {where}: {text}'"


def _json(value: dict[str, list[str]]) -> str:
    import json  # noqa: PLC0415  (likewise)

    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
