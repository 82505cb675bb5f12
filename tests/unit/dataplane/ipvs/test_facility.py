"""What a kernel lacks for mode ipvs is said by name, in one sentence, with what to do."""

import errno

import pytest

from clew.base.errors import UserError
from clew.dataplane.ipvs import facility
from clew.kernel.errors import KernelError
from clew.kernel.iptables import IptablesError
from clew.node import proxy_modes


def nothing(_where: object) -> str:
    return ""


def refusing(number: int, what: str) -> object:
    def probe(_where: object) -> None:
        raise KernelError(number, what)

    return probe


class NoPrograms:
    def __init__(self, _where: object) -> None:
        """Any namespace."""

    @property
    def kind(self) -> str:
        raise IptablesError(errno.ENOENT, "use iptables", detail="there is no program iptables; install the package")


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A kernel that has everything."""
    monkeypatch.setattr(facility.ipvs, "missing", nothing)
    monkeypatch.setattr(facility, "_probe_sets", nothing)
    monkeypatch.setattr(facility, "_probe_link", nothing)
    monkeypatch.setattr(facility, "KernelIptables", type("Programs", (NoPrograms,), {"kind": "legacy"}))
    return monkeypatch


def test_a_whole_kernel_lacks_nothing(whole: pytest.MonkeyPatch) -> None:
    assert whole
    assert facility.missing(None) == ""


def test_no_ipvs(whole: pytest.MonkeyPatch) -> None:
    whole.setattr(facility.ipvs, "missing", lambda _where: "the kernel has no IPVS (ip_vs)")
    with pytest.raises(UserError, match=r"mode ipvs: the kernel has no IPVS \(ip_vs\).*load the modules ip_vs"):
        proxy_modes.mode("ipvs")


def test_no_ipset(whole: pytest.MonkeyPatch) -> None:
    whole.setattr(facility, "_probe_sets", refusing(errno.EINVAL, "create set"))
    assert "no ipset" in facility.missing(None)
    assert "ip_set_hash_ipport" in facility.missing(None)


def test_no_dummy_links(whole: pytest.MonkeyPatch) -> None:
    whole.setattr(facility, "_probe_link", refusing(errno.EOPNOTSUPP, "add link"))
    assert "load the module dummy" in facility.missing(None)


def test_no_iptables(whole: pytest.MonkeyPatch) -> None:
    whole.setattr(facility, "KernelIptables", NoPrograms)
    assert "there is no program iptables" in facility.missing(None)
