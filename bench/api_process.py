"""The lab's API server alone: `python -m bench.api_process FOLDER [NAMESPACE ADDRESS]`, until standard input ends.

Its state and its authority are in FOLDER. It listens on loopback, at a port that it prints, and where asked to in
another network namespace too, as a lab's daemon does for its nodes.
"""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import uvloop

from bench.figures import allow_files
from clew.cluster.apiserver import ApiServer, ApiServerOptions, ServerPki
from clew.cluster.ca import Authority, server_tls
from clew.cluster.storage import Storage
from clew.cluster.streams import StreamError
from clew.kernel import netns

SERVICE_CIDRS = ("10.96.0.0/12", "fd00:10:96::/112")
PORT = 6443  # in the other namespace


class NoNodes:
    """Streams of a cluster in which no pod runs."""

    async def run(self, *_: object) -> Any:
        raise StreamError(400, "no node")

    attach = logs = connect = run


async def serve(folder: Path, elsewhere: list[str]) -> None:
    authority = Authority.ensure(folder / "pki")
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=2048)]
    addresses = elsewhere[1:]
    for address in addresses:
        inside = netns.socket_in(Path(elsewhere[0]), socket.AF_INET, socket.SOCK_STREAM)
        inside.bind((address, PORT))
        inside.listen()
        sockets.append(inside)
    storage = Storage.open(folder / "state.db")
    pki = ServerPki(authority.ca_pem, authority.service_account_key())
    options = ApiServerOptions(SERVICE_CIDRS, advertise=tuple((address, PORT) for address in addresses))
    server = ApiServer(storage, options, pki, NoNodes())
    credential = authority.server(["localhost"], ["127.0.0.1", *addresses])
    await server.start(sockets, server_tls(credential, authority.ca_pem))
    sys.stdout.write(f"{sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()
    await storage.close()


if __name__ == "__main__":
    allow_files(8192)
    uvloop.run(serve(Path(sys.argv[1]), sys.argv[2:]))
