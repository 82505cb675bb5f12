"""The Corefile: what is read, and that every refusal names line and column."""

import pytest

from clew.base.clock import SystemClock
from clew.base.errors import UserError
from clew.base.metrics import Registry
from clew.servers.dns.chain import Context, Site
from clew.servers.dns.corefile import parse
from clew.servers.dns.plugins import build

DEFAULT = """
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . 192.0.2.53 {   # the node's own
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
"""


def plugins(text: str) -> list[str]:
    (block,) = parse(text)
    context = Context(SystemClock(), Registry(), print)
    return [type(each).__name__ for each in build(block, Site(("",), 53, "dns://:53"), context)]


def test_the_default_corefile_stands_in_the_lists_order() -> None:
    assert plugins(DEFAULT) == [
        "Reload", "Ready", "Health", "Prometheus", "Errors", "LoadBalance", "Cache", "Kubernetes", "Loop", "Forward",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no server block"),
        (".:53 {\n errors\n", "1:6: this block is never closed"),
        (".:53 {\n  erors\n}", "2:3: unknown directive 'erors'"),
        (".:53 {\n  errors\n  errors\n}", "3:3: 'errors' stands twice"),
        (".:53 {\n  kubernetes x {\n    podz y\n  }\n}", "3:5: kubernetes has no property 'podz'"),
        (".:53 {\n  forward . 1.2.3\n}", "2:13: '1.2.3' does not appear to be"),
        (".:53 {\n  forward .\n}", "2:3: forward takes a zone"),
        (".:53 {\n  reload 1s\n}", "2:10: an interval below 2s"),
        (".:53 {\n  health 8080\n}", "2:10: '8080' is not an address with a port"),
        (".:53 {\n  cache x\n}", "2:9: 'x' is not a whole number"),
        ('.:53 {\n  forward . "1.2.3.4\n}', "2:13: a quoted text is not closed"),
        (".:53 {\n}\nerrors\n", "3:1: expected a server block"),
    ],
)
def test_a_refusal_says_where(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        plugins(text)
    assert message in str(error.value)
