"""Namespaces made, entered and removed, and the settings inside them."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.kernel import netns
from clew.kernel.errors import KernelError
from clew.kernel.sysctl import Sysctl, path_of

pytestmark = pytest.mark.root


@pytest.fixture
def ns(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "deeper" / "ns"
    netns.create(path)
    yield path
    netns.delete(path)


def test_a_namespace_is_another_one(ns: Path) -> None:
    assert netns.pinned(ns)
    assert netns.identity(ns) != netns.current()
    assert netns.run_in(ns, netns.current) == netns.identity(ns)
    fd = os.open(ns, os.O_RDONLY)
    try:
        assert netns.run_in(fd, netns.current) == netns.identity(fd) == netns.identity(ns)
    finally:
        os.close(fd)


def test_the_caller_stays_where_it_is(ns: Path) -> None:
    before = netns.current()
    with pytest.raises(ZeroDivisionError):
        netns.run_in(ns, lambda: 1 // 0)
    assert netns.current() == before


def test_a_socket_belongs_to_its_namespace(ns: Path) -> None:
    inside = netns.socket_in(ns, socket.AF_INET, socket.SOCK_STREAM)
    with inside, pytest.raises(OSError, match="unreachable"):
        inside.connect(("127.0.0.1", 1))  # its loopback is down; ours is up and would refuse


def test_what_exists_is_not_made_again(ns: Path) -> None:
    with pytest.raises(KernelError) as caught:
        netns.create(ns)
    assert caught.value.exists
    assert netns.pinned(ns)


def test_delete_is_idempotent(ns: Path) -> None:
    netns.delete(ns)
    assert not ns.exists()
    assert not netns.pinned(ns)
    netns.delete(ns)


def test_an_empty_file_is_no_namespace(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not netns.pinned(tmp_path / "file")
    with pytest.raises(KernelError) as caught:
        netns.run_in(tmp_path / "file", lambda: None)
    assert caught.value.number == errno.EINVAL


def test_a_missing_namespace_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="nowhere") as caught:
        netns.run_in(tmp_path / "nowhere", lambda: None)
    assert caught.value.absent


def test_sysctls_are_the_namespaces_own(ns: Path) -> None:
    here, inside = Sysctl(), Sysctl(ns)
    outside = here.read("net.ipv4.ip_forward")
    inside.write({"net.ipv4.ip_forward": 1, "net.ipv4.ip_local_port_range": "2000 3000"})
    assert inside.read("net.ipv4.ip_forward") == "1"
    assert here.read("net.ipv4.ip_forward") == outside
    assert inside.write_known({"net.ipv4.no_such": 1, "net.ipv4.ip_forward": 0}) == ("net.ipv4.no_such",)
    assert inside.read("net.ipv4.ip_forward") == "0"
    with pytest.raises(KernelError, match="no_such"):
        inside.write({"net.ipv4.no_such": 1})


def test_a_setting_of_an_interface_with_a_dot() -> None:
    assert path_of("net.ipv4.conf.eth0/100.rp_filter") == Path("/proc/sys/net/ipv4/conf/eth0.100/rp_filter")
