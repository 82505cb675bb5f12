"""`python -m clew.cluster.runtime.supervisor NODE`: become the node that standard input, a JSON text, describes.

Standard output is a pipe to whoever started this: one line of JSON, {"pid": …} once the node serves, or {"error": …}.
The first process enters the node's control group and namespaces and ends as soon as its child, process 1 of the node,
is ready; nothing connects that child with the daemon but its socket.
"""

import json
import os
import signal
import sys
from pathlib import Path

from clew.cluster.runtime.supervisor import boot
from clew.cluster.runtime.supervisor.loop import Loop
from clew.cluster.runtime.supervisor.server import Server
from clew.cluster.runtime.supervisor.wire import words
from clew.kernel import private_socket, process


def main() -> int:
    config = boot.BootConfig.parse(sys.stdin.read())
    ready, told = os.pipe()
    try:
        boot.enter(config)
    except OSError as problem:
        return _say({"error": words(problem)})
    pid = os.fork()
    if not pid:
        os.close(ready)
        _become_node(config, told)
        return 0
    os.close(told)
    with os.fdopen(ready, "rb") as answer:
        refusal = answer.read().decode()
    if refusal:
        return _say({"error": refusal})
    return _say({"pid": pid})


def _become_node(config: boot.BootConfig, told: int) -> None:
    try:
        os.setsid()
        os.umask(0o022)
        process.rename("clew-node")
        process.retitle(f"clew: node {config.name}")
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.dup2(2, 1)  # the pipe to the starter goes; what is printed from now on is the log's
        listener = private_socket.listen(Path(config.socket))
        boot.build_root(config)
        loop = Loop()
        Server(loop, config, listener)
    except OSError as problem:
        os.write(told, words(problem).encode())
        os._exit(1)
    os.close(told)
    loop.run()


def _say(answer: dict[str, object]) -> int:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
