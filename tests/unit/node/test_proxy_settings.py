import pytest

from clew.node.proxy_settings import ProxySettings

ADDRESSES = ("172.30.0.11", "172.30.0.99", "fd00::b")


@pytest.mark.parametrize(
    ("said", "ipv4", "ipv6"),
    [
        ((), (), ()),
        (("10.0.0.7/8",), ("10.0.0.0/8",), ()),
        (("0.0.0.0/0",), (), ()),
        (("primary",), ("172.30.0.11",), ("fd00::b",)),
        (("10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32"), ("10.0.0.0/8", "192.0.2.1"), ()),
    ],
)
def test_node_port_addresses(said: tuple[str, ...], ipv4: tuple[str, ...], ipv6: tuple[str, ...]) -> None:
    settings = ProxySettings("node-1", node_port_addresses=said)
    assert settings.of(4, ADDRESSES).node_port_addresses == ipv4
    assert settings.of(6, ADDRESSES).node_port_addresses == ipv6


def test_a_primary_address_that_is_not_known_opens_no_port() -> None:
    settings = ProxySettings("node-1", node_port_addresses=("primary",))
    assert settings.of(4).node_port_addresses == ("0.0.0.0",)


def test_prefixes_are_split_by_family() -> None:
    settings = ProxySettings("node-1", pod_cidrs=("10.244.0.0/16", "fd00:10:244::/48"))
    assert settings.of(4).pod_cidrs == ("10.244.0.0/16",)
    assert settings.of(6).pod_cidrs == ("fd00:10:244::/48",)
