"""WireGuard's messages: what is asked for is what would be read back."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.kernel.nfnetlink import attribute
from clew.kernel.wireguard import Device, Peer, wire

KEY = st.binary(min_size=32, max_size=32).map(lambda data: base64.b64encode(data).decode())
PREFIX = st.one_of(st.ip_addresses(v=4).map(lambda ip: f"{ip}/32"), st.ip_addresses(v=6).map(lambda ip: f"{ip}/128"))
ENDPOINT = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    st.tuples(st.ip_addresses(v=6), st.integers(1, 65535)).map(lambda pair: f"[{pair[0]}]:{pair[1]}"),
)
PEER = st.builds(
    Peer,
    KEY,
    st.one_of(st.just(""), ENDPOINT),
    st.lists(PREFIX, unique=True, max_size=5).map(lambda a: tuple(sorted(a))),
)


@given(st.lists(PEER, max_size=4, unique_by=lambda peer: peer.public_key))
def test_peers_come_back_as_they_went(peers: list[Peer]) -> None:
    found = wire.read([wire.peers(peers)])
    assert found.peers == tuple(sorted(peers, key=lambda peer: peer.public_key))


def test_a_peer_may_go_on_in_the_next_message() -> None:
    """A dump cuts a peer with many addresses in two; the rest comes without an endpoint."""
    key = base64.b64encode(bytes(32)).decode()
    parts = [
        wire.peers([Peer(key, "192.0.2.1:51820", ("10.0.2.0/24",))]),
        wire.peers([Peer(key, "", ("10.0.1.0/24",))]),
    ]
    assert wire.read(parts).peers == (Peer(key, "192.0.2.1:51820", ("10.0.1.0/24", "10.0.2.0/24")),)


def test_a_device_without_a_key() -> None:
    assert wire.read([attribute(wire.DEVICE_PUBLIC_KEY, bytes(32))]) == Device("", 0)


@pytest.mark.parametrize("endpoint", ["192.0.2.1:51820", "[2001:db8::1]:51820"])
def test_an_endpoint_is_a_whole_socket_address(endpoint: str) -> None:
    (peer,) = wire.read([wire.peers([Peer(base64.b64encode(bytes(32)).decode(), endpoint, ())])]).peers
    assert peer.endpoint == endpoint
