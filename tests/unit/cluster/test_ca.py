import asyncio
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clew.base.errors import UserError
from clew.cluster.ca import Authority, client_tls, server_tls


class Fixed:
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


async def test_a_client_with_a_certificate_and_one_without_are_both_let_in(tmp_path: Path) -> None:
    authority = Authority.ensure(tmp_path)
    server = authority.server(("localhost", "kubernetes"), ("127.0.0.1", "fd00::1"))
    seen: list[object] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert"))
        writer.write(await reader.readline())
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_tls(server, authority.ca_pem))
    port = listener.sockets[0].getsockname()[1]
    for tls in (
        client_tls(authority.ca_pem, authority.client("ann", ("system:masters", "dev"))),
        client_tls(authority.ca_pem),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
        await writer.wait_closed()
    listener.close()
    subject = [pair for part in seen[0]["subject"] for pair in part]  # type: ignore[index]
    assert subject == [
        ("organizationName", "system:masters"),
        ("organizationName", "dev"),
        ("commonName", "ann"),
    ]
    assert not seen[1]


async def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    ours, theirs = Authority.ensure(tmp_path / "a"), Authority.ensure(tmp_path / "b")
    listener = await asyncio.start_server(
        lambda _r, w: w.close(), "127.0.0.1", 0, ssl=server_tls(ours.server((), ("127.0.0.1",)), ours.ca_pem)
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", listener.sockets[0].getsockname()[1], ssl=client_tls(theirs.ca_pem))
    listener.close()


def test_everything_is_reused_by_the_next_start_and_private(tmp_path: Path) -> None:
    first = Authority.ensure(tmp_path)
    made = (first.ca_pem, first.client("ann"), first.server(("a",), ("10.0.0.1",)), first.service_account_key())
    second = Authority.ensure(tmp_path)
    assert made == (
        second.ca_pem, second.client("ann"), second.server(("a",), ("10.0.0.1",)), second.service_account_key()
    )  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_certificate_is_made_anew_for_other_names_and_near_its_end(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = Authority.ensure(tmp_path, Fixed(now))
    before = first.server(("a",), ("10.0.0.1",))
    assert first.server(("a",), ("10.0.0.2",)) != before
    before = first.server(("a",), ("10.0.0.1",))
    assert Authority.ensure(tmp_path, Fixed(now + timedelta(days=200))).server(("a",), ("10.0.0.1",)) == before
    assert Authority.ensure(tmp_path, Fixed(now + timedelta(days=330))).server(("a",), ("10.0.0.1",)) != before


def test_an_old_authority_is_signed_anew_with_its_own_key(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = Authority.ensure(tmp_path, Fixed(now))
    key = (tmp_path / "ca.key").read_bytes()
    later = Authority.ensure(tmp_path, Fixed(now + timedelta(days=3640)))
    assert later.ca_pem != first.ca_pem
    assert (tmp_path / "ca.key").read_bytes() == key


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.key").write_bytes(b"not a key")
    with pytest.raises(UserError, match=r"ca\.key is not a usable private key"):
        Authority.ensure(tmp_path)
