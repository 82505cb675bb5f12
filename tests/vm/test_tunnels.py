"""Every way between nodes that needs another kernel than most machines' own, with the real agents in the guest."""

from tests.vm.guest import Guest


def test_ipip_and_wireguard(guest: Guest) -> None:
    guest.run("modprobe", "-a", "ipip", "wireguard", "br_netfilter").ok()
    guest.pytest("tests/ports/node/tunnels_of_other_kernels.py", seconds=600).ok()
