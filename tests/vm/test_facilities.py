"""The guest's kernel has what others lack: each facility is used once, not only loaded."""

import pytest
from tests.vm.guest import Guest

LINKS = {
    "ipip": "ip link add t0 type ipip local 192.0.2.1 remote 192.0.2.2",
    "dummy": "ip link add d0 type dummy",
    "vxlan": "ip link add v0 type vxlan id 1 dstport 4789 local 192.0.2.1",
    "wireguard": "ip link add w0 type wireguard",
    "veth and bridge": "ip link add b0 type bridge; ip link add p0 type veth peer p1; ip link set p0 master b0",
}
MODULES = (
    "ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_sh", "ip_vs_dh", "ip_vs_sed", "ip_vs_nq",
    "ip_vs_mh", "ip_set_hash_ipport", "xt_set", "ipip", "ip6_tunnel", "wireguard", "esp4", "esp6", "xfrm_user",
    "dummy", "vxlan", "sctp", "xt_sctp", "sch_netem", "nft_fib_inet", "br_netfilter",
)  # fmt: skip
SCTP = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132); s.bind(('127.0.0.1', 0)); s.listen()"
ESP = (
    "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1 mode tunnel"
    " aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128"
)


def test_modules_load(guest: Guest) -> None:
    guest.run("modprobe", "-a", *MODULES).ok()


@pytest.mark.parametrize("kind", LINKS)
def test_links_can_be_made(guest: Guest, kind: str) -> None:
    guest.run("unshare", "-n", "sh", "-ec", LINKS[kind]).ok()


def test_esp_takes_a_state(guest: Guest) -> None:
    guest.run("unshare", "-n", "sh", "-ec", f"{ESP}; ip xfrm state").ok()


def test_sctp_listens(guest: Guest) -> None:
    guest.python("-c", SCTP).ok()


def test_control_groups_are_version_two_alone(guest: Guest) -> None:
    found = guest.run("sh", "-c", "cat /sys/fs/cgroup/cgroup.controllers; grep cgroup /proc/mounts").ok().stdout
    assert {"memory", "pids", "cpu"} <= set(found.splitlines()[0].split())
    assert " cgroup2 " in found
    assert " cgroup " not in found
