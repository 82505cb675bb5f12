"""Shells that stay open: what a test types on a host goes into one of them, instead of a program of its own each time.

Clients are asked hundreds of times, and a start of kubectl or clew is seconds where all is ten times slower. Used by
test_conformance_services.py.
"""

import os
import re
import select
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence

MARK = "the script is over:"
OVER = re.compile(rf"\n{MARK} (\d+)\n\Z".encode())


class Shell:
    """`command` leads to a shell that reads what to do. It is started at the first script, and anew where it ended."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = command, environment
        self._running: subprocess.Popen[bytes] | None = None

    def run(self, script: str, seconds: float) -> tuple[int, str]:
        """Exit status and standard output of a script, which is a process of its own: `exit` and variables end with it.

        Raises AssertionError where it takes longer, or the shell ends meanwhile.
        """
        into, out = self._pipes()
        os.write(into, f"sh -c {shlex.quote(script)} </dev/null 2>/dev/null; printf '\\n{MARK} %s\\n' $?\n".encode())
        end, said = time.monotonic() + seconds, b""
        while not (over := OVER.search(said)):
            ready, _, _ = select.select([out], [], [], max(0.0, end - time.monotonic()))
            more = os.read(out, 65536) if ready else b""
            if not more:
                self.close()
                told = f"{shlex.join(self._command)}: {script}\n{said.decode(errors='replace')}"
                raise AssertionError(f"{'the shell ended' if ready else f'not over within {seconds:.0f} s'}: {told}")
            said += more
        return int(over[1]), said[: over.start()].decode(errors="replace").strip()

    def close(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.communicate(timeout=10)
            self._running = None

    def _pipes(self) -> tuple[int, int]:
        if self._running is not None and self._running.poll() is not None:
            self.close()
        if self._running is None:
            self._running = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        return self._running.stdin.fileno(), self._running.stdout.fileno()
