"""IPsec where the kernel has ESP: the port's suite on it."""

import re

import pytest
from tests.vm.guest import Done, Guest


@pytest.fixture(scope="module", autouse=True)
def _modules(guest: Guest) -> None:
    guest.run("modprobe", "-a", "esp4", "esp6", "xfrm_user", "xfrm_interface", "br_netfilter").ok()


def passed(done: Done) -> int:
    """How many tests ran; all of them well."""
    counted = re.search(r"(\d+) passed", done.ok().stdout)
    return int(counted[1]) if counted else 0


def test_agents_speak_to_each_other_by_it(guest: Guest) -> None:
    assert passed(guest.pytest("tests/ports/node/ipsec_of_other_kernels.py", seconds=900)) >= 10


def test_the_port_is_what_its_fake_says(guest: Guest) -> None:
    assert passed(guest.pytest("tests/ports/xfrm")) == 51, "on the fake and on the kernel"
