"""The supervisor's loop: children that nobody asked for yet, timers that are cancelled, callbacks that fail."""

import os
import warnings
from collections.abc import Callable

import pytest

from clew.cluster.runtime.supervisor import loop as supervisor_loop
from clew.cluster.runtime.supervisor import spawn
from clew.cluster.runtime.supervisor.loop import READ, Loop
from clew.cluster.runtime.supervisor.programs import Program


def run(begin: Callable[[Loop], None]) -> None:
    """In a process of its own: the loop takes signals and every child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' idle threads; the child does without them
        pid = os.fork()
    if not pid:
        code = 1
        try:
            loop = Loop()
            loop.later(60, lambda: os._exit(3))
            begin(loop)
            loop.run()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def expect(*, true: bool) -> None:
    if not true:
        os._exit(2)


def ends_with(loop: Loop, wanted: tuple[int, int]) -> Callable[[int], None]:
    def ended(status: int) -> None:
        expect(true=spawn.exit_code(status) == wanted)
        loop.stop()

    return ended


def test_a_childs_end_is_told_also_when_it_was_first() -> None:
    def begin(loop: Loop) -> None:
        pid = spawn.start(["sh", "-c", "exit 7"])

        def ask() -> None:
            loop.reap()
            loop.on_exit(pid, ends_with(loop, (7, 0)))

        loop.later(0.3, ask)

    run(begin)


def test_a_child_that_ends_long_before_the_one_that_names_it_is_told_all_the_same() -> None:
    """On a busy machine a runtime ended more than five seconds after its container: that one ran on for ever."""

    def begin(loop: Loop) -> None:
        supervisor_loop.KEPT = 0.0
        child = spawn.start(["sh", "-c", "exit 7"])
        runtime = spawn.start(["sh", "-c", "sleep 0.5"])
        loop.on_exit(runtime, lambda _: loop.on_exit(child, ends_with(loop, (7, 0))), names_another=True)
        for after in (0.2, 0.3):
            loop.later(after, loop.reap)

    run(begin)


def test_a_signal_is_a_code_as_shells_count() -> None:
    run(lambda loop: loop.on_exit(spawn.start(["sh", "-c", "kill -TERM $$"]), ends_with(loop, (143, 15))))


def test_what_does_not_succeed_at_once_is_tried_again() -> None:
    """A control group that the kernel let go of more than a second after its last process stayed for ever."""

    def begin(loop: Loop) -> None:
        attempts: list[int] = []

        def attempt() -> bool:
            attempts.append(1)
            return len(attempts) == 4

        def look() -> None:
            expect(true=len(attempts) == 4)
            loop.stop()

        loop.again_and_again(attempt, 0.001)
        loop.later(0.2, look)

    run(begin)


def test_a_callback_that_fails_does_not_end_the_loop(capfd: pytest.CaptureFixture[str]) -> None:
    def begin(loop: Loop) -> None:
        def fail() -> None:
            raise RuntimeError("a defect")

        loop.later(0, fail)
        loop.later(0, lambda: os._exit(4)).cancel()
        loop.later(0.01, loop.stop)

    run(begin)
    assert "a defect" in capfd.readouterr().err


def test_a_descriptor_that_was_let_go_of_is_not_called() -> None:
    def begin(loop: Loop) -> None:
        ends = [os.pipe() for _ in range(2)]
        for _, write in ends:
            os.write(write, b"x")

        calls = []

        def ready(_: int) -> None:
            calls.append(1)
            expect(true=len(calls) == 1)
            for read, _write in ends:
                loop.forget(read)
            loop.later(0.01, loop.stop)

        for read, _ in ends:
            loop.watch(read, READ, ready)

    run(begin)


@pytest.mark.parametrize(
    ("script", "timeout", "wanted"),
    [
        ("cat; echo err >&2; exit 3", 5, {"code": 3, "stdout": "in", "stderr": "err\n", "timed_out": False}),
        ("sleep 60 & sleep 60", 0.2, {"code": 137, "signal": 9, "timed_out": True}),  # a child keeps the pipes open
        ("exec 1>&- 2>&-; sleep 0.1; exit 4", 5, {"code": 4, "timed_out": False}),
    ],
)
def test_programs_end_with_all_they_said(script: str, timeout: float, wanted: dict[str, object]) -> None:
    def begin(loop: Loop) -> None:
        def done(found: dict[str, object]) -> None:
            expect(true=all(found[name] == value for name, value in wanted.items()))
            loop.stop()

        Program(loop, done).start(["sh", "-c", script], None, b"in", timeout)

    run(begin)
