"""The runner held to its word: statuses, output, limits, a guest that dies, and nothing left of any of it."""

import os
import subprocess
from pathlib import Path
from tempfile import gettempdir

import pytest
from tests.vm.guest import Guest, _sweep
from tests.vm.kernel import CannotBootError


def folders() -> set[Path]:
    return set(Path(gettempdir()).glob("clew-vm-*"))


def qemus() -> set[str]:
    """Process ids of this process's own guests."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        text = status.read_text()
        if "\nName:\tqemu" in "\n" + text and f"\nPPid:\t{os.getpid()}\n" in text:
            found.add(status.parent.name)
    return found


def test_status_and_output_come_back_whole(guest: Guest) -> None:
    done = guest.run("sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo problem >&2; exit 7")
    assert (done.status, len(done.stdout), done.stderr) == (7, 300_001, "problem\n")


def test_the_machines_files_are_there_and_stay_as_they_are(guest: Guest) -> None:
    probe = Path(__file__).with_name("probe")
    script = f"test -f {__file__} && echo 1 > {probe} && cat {probe} && uname -r"
    one, release = guest.run("sh", "-c", script).ok().stdout.split()
    assert one == "1"
    assert release.endswith("-amd64")
    assert release != os.uname().release
    assert not probe.exists()


def test_what_it_cannot_fetch_is_named_with_what_to_do(guest: Guest) -> None:
    """A benchmark took its baseline's packages in the guest: where the cache was empty, apt-get found no host."""
    done = guest.python("-c", "from tests.packages import unpacked; unpacked('missing-one')")
    assert done.status == 1
    assert "missing-one is missing, and the guest has no network: unpack missing-one before it boots" in done.stderr


def test_a_command_beyond_its_limit_is_ended(guest: Guest) -> None:
    done = guest.run("sleep", "100", seconds=2)
    assert done.status == 124
    with pytest.raises(AssertionError, match=r"status 124: its time was over after \d+ s in the guest: sleep 100"):
        done.ok()


def test_limits_grow_where_the_guest_is_slow(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants were right on an idle machine only: with eight others on its two processors a lab took their limit."""
    monkeypatch.setattr(guest, "slowness", 1.0)
    monkeypatch.setattr("tests.vm.guest.PROBED", 0.05)  # as if it were slower than it is
    guest.measure()
    assert guest.limit(1) > 5
    assert guest.run("sleep", "4", seconds=1).status == 0


def test_a_guest_that_dies_is_told_and_leaves_nothing() -> None:
    before = folders(), qemus()
    with pytest.raises(CannotBootError, match="the guest ended"), Guest() as doomed:
        doomed.run("sh", "-c", "echo c > /proc/sysrq-trigger")
    assert (folders(), qemus()) == before


def test_the_folder_of_a_run_that_was_killed_is_removed() -> None:
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    left = Path(gettempdir(), f"clew-vm-{dead}-x")
    left.mkdir()
    _sweep()
    assert not left.exists()


def test_a_machine_that_cannot_boot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    before = folders()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("tests.packages.SYSTEM_PATH", "")
    with pytest.raises(CannotBootError, match=r"qemu-system-x86_64 is missing: apt-get install qemu-system-x86"):
        Guest()
    assert folders() == before
