"""The BPF program of the DNS fast path under Linux 6.1: its verifier takes it, and it answers."""

from tests.vm.guest import Guest


def test_it_loads_and_answers_the_specifications_table(guest: Guest) -> None:
    guest.pytest("tests/ports/dns/test_fast_path.py", "-k", "table or real_clients", seconds=300).ok()
