"""The proxy that bench/userspace measures: `python -m bench.userspace_inside uvloop|asyncio|splice PORT`.

Prints where it listens and runs until it is killed.
"""

import asyncio
import os
import socket
import sys
import threading

import uvloop

from clew.base.clock import SystemClock
from clew.dataplane.userspace.forwarder import Forwarder
from clew.dataplane.userspace.objects import Way, WayKey

KEY = WayKey("bench/server", "TCP", "Cluster")
PIPE = 1 << 18


async def forward(port: int) -> None:
    proxy = Forwarder(4, socket.socket, SystemClock())
    proxy.offer({KEY: Way((("127.0.0.1", port),))}, {})
    print(proxy.ports[KEY], flush=True)
    await proxy.run()


def spliced(source: socket.socket, sink: socket.socket) -> None:
    ours, theirs = os.pipe()
    while size := os.splice(source.fileno(), theirs, PIPE):
        while size:
            size -= os.splice(ours, sink.fileno(), size)
    sink.shutdown(socket.SHUT_WR)
    os.close(ours)
    os.close(theirs)


def splice(port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=spliced, args=(server, client))
                back.start()
                spliced(client, server)
                back.join()


if __name__ == "__main__":
    how, port = sys.argv[1], int(sys.argv[2])
    if how == "splice":
        splice(port)
    elif how == "uvloop":
        uvloop.run(forward(port))
    else:
        asyncio.run(forward(port))
