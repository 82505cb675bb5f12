"""The userspace proxy at work: its CPU for a connection and for a kilobyte, against what client and server need alone.

Client and server are threads of one process, the proxy is another, over loopback without rules: what redirecting costs
is the kernel's. The second baseline is a forwarder that does nothing but `splice` in a blocking loop: bytes that never
come to user space, for one connection at a time.
"""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.figures import Figure, Say, cpu, median, process_cpu, scaled

ROUNDS = 3
CHUNK = bytes(1 << 16)


class Server:
    """Answers one byte with one byte, or swallows all that comes and then says how much that was."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        buffer = bytearray(1 << 18)
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                total = 0
                while size := client.recv_into(buffer):
                    total += size
                    if total == 1:
                        break
                client.sendall(total.to_bytes(8, "big"))


def ask(port: int, data: int) -> None:
    """One connection that says so many bytes and hears how many came."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        if data == 1:
            client.sendall(b"x")
        else:
            for _ in range(data // len(CHUNK)):
                client.sendall(CHUNK)
            client.shutdown(socket.SHUT_WR)
        said = b""
        while part := client.recv(8):
            said += part
        assert int.from_bytes(said, "big") == data


@contextmanager
def proxy(how: str, port: int) -> Iterator[tuple[int, int]]:
    """Its process and its port."""
    command = [sys.executable, "-m", "bench.userspace_inside", how, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            yield running.pid, int(running.stdout.readline())
        finally:
            running.kill()


def through(port: int, data: int, times: int, pid: int = 0) -> tuple[float, float]:
    """CPU seconds for each connection: of client and server, and of the proxy's process."""
    own, its = [], []
    for _ in range(ROUNDS):
        before, before_its = cpu(), process_cpu(pid) if pid else 0.0
        for _ in range(times):
            ask(port, data)
        own.append((cpu() - before) / times)
        its.append(((process_cpu(pid) if pid else 0.0) - before_its) / times)
    return median(own), median(its)


def figures(scale: float, say: Say) -> Iterator[Figure]:
    """2,000 connections, and 256 MiB in one."""
    connections = scaled(2_000, scale, 20)
    size = scaled(256 << 20, scale, 1 << 20) // len(CHUNK) * len(CHUNK)
    with ExitStack() as stack:
        server = Server()
        stack.callback(server.close)
        say("without a proxy")
        alone, _ = through(server.port, 1, connections)
        alone_bulk, _ = through(server.port, size, 1)
        results = {}
        for how in ("asyncio", "uvloop", "splice"):
            say(f"through the proxy on {how}")
            with proxy(how, server.port) as (pid, port):
                ask(port, 1)
                results[how] = through(port, 1, connections, pid)[1], through(port, size, 1, pid)[1] / (size >> 10)
    for how, said in (("uvloop", "uvloop, as in the agent"), ("asyncio", "asyncio")):
        one, kilobyte = results[how]
        yield Figure(f"a connection, {said}: the proxy's CPU", one * 1e6, "µs", alone * 1e6, "client and server alone")
        yield Figure(f"a KiB, {said}: the proxy's CPU", kilobyte * 1e9, "ns", results["splice"][1] * 1e9, "bare splice")
    yield Figure("a KiB without a proxy: client and server", alone_bulk / (size >> 10) * 1e9, "ns")
