"""What the public conformance suite asks of Services, in mode ipvs: a lab of three nodes on a kernel that has IPVS.

All cases but those that are the API server's and its controllers' alone, whatever the mode.
"""

from tests.vm.guest import Guest

CASES = "tests/lab/test_conformance_services.py"
OTHERS = (
    "secure_master", "collisions", "listing_all", "mirror", "status_lifecycle", "proxies_to", "host_port",
    "without_snat", "have_ended",
)  # fmt: skip


def test_every_case_that_a_mode_has_a_part_in(guest: Guest) -> None:
    guest.run("modprobe", "br_netfilter").ok()
    chosen = ("-k", f"not ({' or '.join(OTHERS)})", "-o", "timeout=1200")
    done = guest.pytest(CASES, *chosen, seconds=3000, environment={"CLEW_PROXY_MODES": "ipvs"})
    assert done.passed() >= 34
