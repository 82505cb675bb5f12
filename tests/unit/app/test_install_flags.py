"""`clew install`: what its flags say is looked at before anything is printed or applied."""

import pytest

from clew.app.install import InstallOptions, text
from clew.base.errors import UserError

FACTS = InstallOptions("", "10.244.0.0/16,fd00:10:244::/48", "10.96.0.0/12, fd00:10:96::/112", "192.0.2.1:6443")


def test_both_families_are_written_out() -> None:
    assert '"clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/48"], "serviceCIDRs": ["10.96.0.0/12"' in " ".join(
        text(FACTS).split()
    )


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        (InstallOptions("", "foo", "10.96.0.0/12", ""), "--pod-cidr: 'foo' does not appear"),
        (InstallOptions("", "10.244.0.0/16", "10.96.0.1/12", ""), "--service-cidr: 10.96.0.1/12 has host bits set"),
        (InstallOptions("", "10.244.0.0/16", "", ""), "--service-cidr: '' does not appear"),
        (InstallOptions("", "10.1.0.0/16,10.2.0.0/16", "10.96.0.0/12", ""), "--pod-cidr: .* two ranges of one family"),
        (
            InstallOptions("", "10.96.0.0/16", "10.96.0.0/12", ""),
            "--service-cidr: 10.96.0.0/12 overlaps with --pod-cidr",
        ),
        (InstallOptions("", "10.244.0.0/16", "10.96.0.0/12", "host"), "--api-server: 'host' is no HOST:PORT"),
    ],
)
def test_a_wrong_flag_is_refused_by_its_name(options: InstallOptions, refusal: str) -> None:
    """`--pod-cidr foo` was printed as the agents' configuration, and every agent died of it."""
    with pytest.raises(UserError, match=refusal):
        text(options)
