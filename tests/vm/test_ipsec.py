"""IPsec where the kernel has ESP: the port's suite on it."""

import json

import pytest
from tests.vm.guest import Guest


@pytest.fixture(scope="module", autouse=True)
def _modules(guest: Guest) -> None:
    guest.run("modprobe", "-a", "esp4", "esp6", "xfrm_user", "xfrm_interface", "ipip", "wireguard", "br_netfilter").ok()


def test_agents_speak_to_each_other_by_it(guest: Guest) -> None:
    assert guest.pytest("tests/ports/node/ipsec_of_other_kernels.py", seconds=1700).passed() >= 11


def test_the_benchmark_of_streams_measures_every_way(guest: Guest) -> None:
    said = guest.python("-m", "bench.one", "tunnels", "0.01", seconds=200).ok().stdout
    figures = [json.loads(line)["figure"] for line in said.splitlines() if '"figure"' in line]
    assert {each["what"].partition(":")[0] for each in figures} == {"host-gw", "vxlan", "ipip", "wireguard", "ipsec"}
    assert all(each["value"] > 0 for each in figures if each["unit"] == "MiB/s")


def test_the_port_is_what_its_fake_says(guest: Guest) -> None:
    assert guest.pytest("tests/ports/xfrm").passed() == 54, "on the fake and on the kernel"
