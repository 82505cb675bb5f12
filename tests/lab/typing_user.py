"""Somebody at a keyboard: types kubectl commands as they stand in every tutorial, and reads what they print.

`like` compares a print with what a real cluster prints, where names, ages and addresses differ from run to run.
"""

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .small_lab import STALLS, Done, SmallLab, eventually

Answer = str | Callable[["Terminal"], None]
AGE = r"[0-9dhms]+(?: \(x[0-9]+ over [0-9dhms]+\))?"  # after two minutes of them 180 seconds are `3m`


class User:
    """One kubectl, one namespace, one kubeconfig."""

    def __init__(self, lab: SmallLab, program: str, namespace: str) -> None:
        self.lab = lab
        self.program = program
        self.namespace = namespace
        self.folder = lab.folder / namespace
        self.folder.mkdir()
        shutil.copy(lab.folder / "config", self.folder / "config")
        self.environment = {
            **lab.environment, "KUBECONFIG": str(self.folder / "config"), "TERM": "xterm",
            "PATH": f"{Path(program).parent}:{lab.environment['PATH']}",
        }  # fmt: skip

    def words(self, line: str) -> list[str]:
        return [self.program, *shlex.split(line)]

    def types(self, line: str, text: str = "", seconds: float = 60, **environment: str) -> Done:
        """What `kubectl LINE` prints and how it ends; `text` is its input."""
        return subprocess.run(
            self.words(line), input=text, capture_output=True, text=True, timeout=seconds * STALLS, check=False,
            cwd=self.folder, env=self.environment | environment,
        )  # fmt: skip

    def says(self, line: str, text: str = "", seconds: float = 60, **environment: str) -> str:
        """Its standard output; it has to end well."""
        done = self.types(line, text, seconds, **environment)
        assert done.returncode == 0, f"kubectl {line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def refuses(self, line: str, text: str = "", code: int = 1) -> str:
        """Its complaint; it has to end with `code`."""
        done = self.types(line, text)
        assert done.returncode == code, f"kubectl {line} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr

    def until(self, line: str, expected: str, seconds: float = 30) -> str:
        """Type it again until it prints `expected` (as in `like`); what it printed then."""
        seen = [""]

        def printed() -> bool:
            seen[0] = self.types(line).stdout
            return not difference(seen[0], expected)

        try:
            eventually(printed, seconds)
        except AssertionError:
            raise AssertionError(difference(seen[0], expected)) from None
        return seen[0]

    @contextmanager
    def running(self, line: str) -> Iterator["Background"]:
        """A command that goes on (`get -w`, `logs -f`, `port-forward`) while the test does something else."""
        background = Background(subprocess.Popen(
            self.words(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder, env=self.environment
        ))  # fmt: skip
        try:
            yield background
        finally:
            background.end()

    def terminal(self, line: str) -> "Terminal":
        return Terminal(self.words(line), self.environment, self.folder)


class Background:
    """A command that goes on; its output so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.seen = ""

    def until(self, expected: str, seconds: float = 30) -> str:
        """Read on until a line of its output matches the pattern."""
        end, pattern = time.monotonic() + seconds * STALLS, re.compile(expected, re.MULTILINE)
        assert self.process.stdout is not None
        while not pattern.search(self.seen):
            left = end - time.monotonic()
            assert left > 0, f"{expected!r} not within {seconds} s in:\n{self.seen}"
            if select.select([self.process.stdout], [], [], left)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, f"ended before {expected!r}:\n{self.seen}"
                self.seen += data.decode()
        return self.seen

    def rest(self, seconds: float = 30) -> str:
        """All it prints until it ends by itself."""
        self.seen += self.process.communicate(timeout=seconds * STALLS)[0].decode()
        return self.seen

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Terminal:
    """A command on a terminal of its own, typed at when its prompt shows."""

    def __init__(self, words: list[str], environment: dict[str, str], folder: Path) -> None:
        self.screen, keyboard = pty.openpty()
        ends = {"stdin": keyboard, "stdout": keyboard, "stderr": keyboard}
        try:
            self.process = subprocess.Popen(words, **ends, start_new_session=True, cwd=folder, env=environment)
        finally:
            os.close(keyboard)
        self.resize(24, 80)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def write(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def plays(self, *script: tuple[str, Answer], seconds: float = 40) -> tuple[str, int]:
        """For each (pattern, answer): wait for the pattern on the rest of the screen, then answer. Print and exit."""
        end, mark, steps, nudged = time.monotonic() + seconds * STALLS, 0, list(script), False
        try:
            while time.monotonic() < end:
                if select.select([self.screen], [], [], 0.2)[0] and not self._read():
                    break
                if not nudged and "try pressing enter" in self.seen:
                    nudged = True
                    self.write("\n")
                if steps and (found := re.search(steps[0][0], self.seen[mark:])):
                    mark += found.end()
                    answer = steps.pop(0)[1]
                    answer(self) if callable(answer) else self.write(answer)
            assert not steps, f"still waiting for {steps[0][0]!r} in:\n{self.seen}"
            return self.seen, self._ended(end)
        finally:
            self._away()

    def _read(self) -> bool:
        try:
            data = os.read(self.screen, 65536)
        except OSError:  # the other end of a terminal closes so
            return False
        self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def _ended(self, end: float) -> int:
        try:
            return self.process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end after:\n{self.seen}") from None

    def _away(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.screen)


def difference(printed: str, expected: str) -> str:
    """Empty where `printed` is as expected, else both.

    In `expected` `…` stands for anything in a line, `…s` for an age and a line of `⋮` for any lines; runs of blanks
    count as one, since columns follow the widest name.
    """
    pattern = ""
    for line in expected.strip().splitlines():
        words = " ".join(line.split())
        if words == "⋮":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += re.sub(r"…s\b", lambda _: AGE, re.escape(words)).replace("…", ".*?") + r"\n"
    lines = [" ".join(line.split()) for line in printed.strip().splitlines()]
    whole = "".join(f"{line}\n" for line in lines)
    return "" if re.fullmatch(pattern, whole) else f"expected:\n{expected.strip()}\n\nprinted:\n{printed}"


def like(printed: str, expected: str) -> None:
    """Fails, showing both, unless `printed` is as expected."""
    assert not (told := difference(printed, expected)), told
