"""The Corefile: what is read, and that every refusal names line and column."""

import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example as with_example
from hypothesis import given
from hypothesis import strategies as st

from clew.app.dns_generation import DnsOptions, Generation
from clew.base.clock import SystemClock
from clew.base.errors import UserError
from clew.base.metrics import Registry
from clew.servers.dns import plugins as plugin_folder
from clew.servers.dns.arguments import reverse_zones
from clew.servers.dns.chain import Context
from clew.servers.dns.corefile import parse

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
    context = Context(SystemClock(), Registry(), print)
    generation = Generation(text, DnsOptions(Path("Corefile")), context)
    return [type(each).__name__ for each in generation.plugins]


def test_the_default_corefile_stands_in_the_lists_order() -> None:
    assert plugins(DEFAULT) == [
        "Reload", "Ready", "Health", "Prometheus", "Errors", "LoadBalance", "Cache", "Kubernetes", "Loop", "Forward",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no server block"),
        (".:53 {\n errors\n", "1:6: this block is never closed"),
        (".:53 {\n  erors\n}", "2:3: unknown directive 'erors' (did you mean 'errors'?)"),
        (".:53 {\n  errors\n  errors\n}", "3:3: 'errors' stands twice"),
        (".:53 {\n  kubernetes x {\n    podz y\n  }\n}", "3:5: kubernetes has no property 'podz'"),
        (".:53 {\n  forward . 1.2.3\n}", "2:13: '1.2.3' does not appear to be"),
        (".:53 {\n  forward .\n}", "2:3: forward takes a zone"),
        (".:53 {\n  reload 1s\n}", "2:10: an interval below 2s"),
        (".:53 {\n  health 8080\n}", "2:10: '8080' is not an address with a port"),
        (".:53 {\n  cache {\n success x\n}\n}", "3:10: 'x' is not a whole number"),
        ('.:53 {\n  forward . "1.2.3.4\n}', "2:13: a quoted text is never closed"),
        (
            ".:53 {\n  forward . 1.2.3.4 {\n polcy random\n}\n}",
            "3:2: forward has no property 'polcy' (did you mean 'policy'?)",
        ),
        (".:53 {\n  forward . 1.2.3.4 {\n policy best\n}\n}", "3:9: no 'best' here"),
        (".:53 {\n  forward . https://1.2.3.4\n}", "2:13: 'https://1.2.3.4': https:// is no transport"),
        (".:53 {\n  forward . /nonexistent\n}", "2:13: cannot read /nonexistent"),
        (".:53 {\n  kubernetes {\n namespaces a\n namespace_labels b=c\n}\n}", "2:3: namespaces and namespace_labels"),
        (".:53 {\n  kubernetes {\n pods maybe\n}\n}", "3:7: no pods mode 'maybe'"),
        (".:53 {\n  kubernetes cluster.löcal\n}", "2:14: not a domain name: 'cluster.löcal'"),
        (".:53 {\n  kubernetes cluster..local\n}", "2:14: not a domain name: 'cluster..local'"),
        (".:53 {\n  kubernetes {\n fallthrough a..b\n}\n}", "3:14: not a domain name: 'a..b'"),
        (".:53 {\n  kubernetes {\n ttl 9999\n}\n}", "3:6: a ttl above 3600"),
        (".:53 {\n  rewrite nme a b\n}", "2:11: no 'nme' here (did you mean 'name'?)"),
        (".:53 {\n  rewrite name a b answer\n}", "2:20: answer stands alone"),
        (".:53 {\n  rewrite name regex ( x\n}", "2:22: not a pattern"),
        (".:53 {\n  rewrite name regex (a) {2}\n}", "2:22: '{2}' names group 2 of a pattern with 1"),
        (".:53 {\n  template IN A {\n match (\n}\n}", "3:8: not a pattern"),
        ('.:53 {\n  template IN A {\n answer "{{ .Nme }}"\n}\n}', "3:9: template expression '.Nme' is not understood"),
        (".:53 {\n  acl {\n deny net *\n}\n}", "3:2: acl has no action 'deny'"),
        (".:53 {\n  acl {\n block net 10.0.0.0/33\n}\n}", "3:12: '10.0.0.0/33' does not appear"),
        (".:53 {\n  bind nosuch0\n}", "2:8: 'nosuch0' is no address and no interface"),
        (".:53 {\n  autopath @kubernetes\n}", "2:3: autopath @kubernetes needs"),
        (".:53 {\n  file /nonexistent\n}", "2:8: /nonexistent: "),
        (".:53 {\n  hosts {\n 1.2.3 www\n}\n}", "3:2: expected ADDRESS NAME"),
        (".:53 {\n  import nowhere\n}", "2:10: no snippet and no file 'nowhere'"),
        ("(a) {\n import a\n}\n.:53 {\n  import a\n}", "2:9: no snippet and no file 'a'"),
        (".:53 {\n  errors }\n}", "2:10: a brace amid a line"),
        ("..x:53 {\n}", "1:1: not a domain name"),
        ("tls://.:853 {\n}", "1:1: tls:// is not served"),
        (".:99999 {\n}", "1:1: '99999' is not a port"),
        (".:53 {\n}\n.:53 {\n}", "3:1: . is served twice on port 53"),
        (".:53 {\n}\nerrors\n", "3:1: expected a server block"),
    ],
)
def test_a_refusal_says_where(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        plugins(text)
    assert message in str(error.value)


def shape(text: str, folder: Path = Path(), **environment: str) -> list[tuple[str, list[str]]]:
    """Server blocks as keys and lines."""
    blocks = parse(text, folder, environment)
    return [
        (
            " ".join(key.text for key in block.keys),
            [" ".join((each.name.text, *(word.text for word in each.arguments))) for each in block.directives],
        )
        for block in blocks
    ]


def test_snippets_files_and_variables(tmp_path: Path) -> None:
    (tmp_path / "common.conf").write_text("log\ncache 7\n")
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones/a.conf").write_text("a.test {\n whoami\n}\n")
    (tmp_path / "zones/b.conf").write_text("b.test {\n import snippet\n}\n")
    text = """
(snippet) {
    errors
    health {
        lameduck 5s
    }
}
.:{$PORT} {   # everything
    import snippet
    import common.conf
    forward . {%UPSTREAM%} "{$UPSTREAM}:54"
    chaos "two words" "a \\"quote\\""
}
import zones/*.conf
import nothing-*.conf
c.test,
d.test e.test {
}
"""
    assert shape(text, tmp_path, PORT="1053", UPSTREAM="192.0.2.1") == [
        (
            ".:1053",
            ["errors", "health", "log", "cache 7", "forward . 192.0.2.1 192.0.2.1:54", 'chaos two words a "quote"'],
        ),
        ("a.test", ["whoami"]),
        ("b.test", ["errors", "health"]),
        ("c.test d.test e.test", []),
    ]


def test_a_text_over_lines_keeps_later_places() -> None:
    with pytest.raises(UserError, match="4:2: unknown directive 'x'"):
        plugins('.:53 {\n chaos "one\ntwo"\n x\n}')


def test_an_error_in_an_imported_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "part.conf").write_text("errors\nnonsense\n")
    (tmp_path / "Corefile").write_text(".:53 {\n import part.conf\n}")
    context = Context(SystemClock(), Registry(), print)
    with pytest.raises(UserError, match=r"part\.conf:2:1: unknown directive 'nonsense'"):
        Generation((tmp_path / "Corefile").read_text(), DnsOptions(tmp_path / "Corefile"), context)


@pytest.mark.parametrize(
    ("cidr", "expected"),
    [
        ("10.0.0.0/8", ["10.in-addr.arpa"]),
        ("192.0.2.0/24", ["2.0.192.in-addr.arpa"]),
        ("10.8.0.0/15", ["8.10.in-addr.arpa", "9.10.in-addr.arpa"]),
        ("0.0.0.0/0", ["in-addr.arpa"]),
        ("fd00::/8", ["d.f.ip6.arpa"]),
        ("fd00::/11", ["0.d.f.ip6.arpa", "1.d.f.ip6.arpa"]),
    ],
)
def test_a_range_is_its_reverse_zones(cidr: str, expected: list[str]) -> None:
    assert list(reverse_zones(cidr)) == expected


@given(st.text(alphabet=' \n\t{}"#()abc.:,$%\\', max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(UserError):
        parse(text)


ARGUMENTS = st.sampled_from([
    ".", "a.test", "a..b", "é.test", "x" * 70, "192.0.2.1", "10.0.0.0/8", "fd00::1", "tls://192.0.2.1", "[::1]:53",
    "-1", "0", "99999999999", "5s", "10%", "x", "(", "{1}", "{nope}", "regex", "stop", "type", "ttl", "edns0", "local",
    "set", "0xzz", "subnet", "answer", "A", "ANY", "IN", "NXDOMAIN", '"{{ .Name }} 60 IN A 192.0.2.1"', "*",
    '"{{ .Nope }}"', "/nofile", "block", "net", "denial", "pods", "verified", "@kubernetes", "cluster.local",
])  # fmt: skip
PROPERTIES = st.sampled_from([
    "ttl", "match", "answer", "rcode", "fallthrough", "class", "policy", "except", "tls", "pods", "success", "block",
    "prefetch", "serve_stale", "consolidate", "lameduck", "labels", "window", "reload", "next", "health_check", "x",
])  # fmt: skip
PLUGINS = sorted(
    {path.parent.name for path in Path(plugin_folder.__file__ or "").parent.glob("*/README.md")} - {"bind"}
)


@given(
    st.sampled_from(PLUGINS),
    st.lists(ARGUMENTS, max_size=5),
    st.lists(st.tuples(PROPERTIES, st.lists(ARGUMENTS, max_size=4)), max_size=3),
)
@with_example("kubernetes", ["é.test"], [])
def test_no_words_of_a_plugin_are_our_fault(name: str, words: list[str], block: list[tuple[str, list[str]]]) -> None:
    """A zone in another language's letters ended the server, also one that ran and was told to read it."""
    lines = "".join(f"  {' '.join((field, *values))}\n" for field, values in block)
    said = "Corefile:1:1: "
    try:
        plugins(f".:53 {{\n {' '.join((name, *words))} {{\n{lines} }}\n}}")
    except UserError as refusal:
        said = str(refusal)
    assert re.search(r"Corefile:\d+:\d+: ", said), said


PAGES = sorted(Path(plugin_folder.__file__ or "").parent.glob("*/README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_examples_of_a_plugins_page_are_understood(page: Path) -> None:
    examples = re.findall(r"^```corefile\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert examples or "```corefile no-check" in page.read_text()
    for example in examples:
        assert plugins(example)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_plugins_page_names_every_property(page: Path) -> None:
    """What the code reads in a block stands in the page's syntax."""
    source = "".join(path.read_text() for path in page.parent.glob("*.py"))
    listed = re.search(r"^_PROPERTIES = \((.*?)\)", source, re.MULTILINE | re.DOTALL)
    names = re.findall(r'"(\w+)"', listed.group(1)) if listed else []
    accepted = {"upstream"}  # old Corefiles have it; it says nothing
    assert [name for name in names if name not in page.read_text() and name not in accepted] == []


ROOT = Path(__file__).parents[4]
MANIFESTS = sorted([*ROOT.glob("examples/**/*.yaml"), ROOT / "manifests/dns.yaml"])
COREFILES = {
    f"{path.parent.name}/{each['metadata']['name']}": each["data"]["Corefile"]
    for path in MANIFESTS
    for each in yaml.safe_load_all(path.read_text())
    if each and each["kind"] == "ConfigMap" and "Corefile" in each["data"]
}


@pytest.mark.parametrize("corefile", COREFILES.values(), ids=COREFILES)
def test_the_corefiles_that_we_ship_are_understood(corefile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBE_DNS_UPSTREAM_SERVICE_HOST", "10.96.0.11")
    monkeypatch.setenv("KUBE_DNS_SERVICE_HOST", "fd00:10:96::a")
    assert plugins(corefile.replace("/etc/resolv.conf", "192.0.2.53"))


def test_there_are_corefiles_that_we_ship() -> None:
    assert {"node-local-dns/node-local-dns", "stub-domains/coredns", "extra-names/coredns"} < set(COREFILES)


def test_ranges_among_the_zones_of_the_cluster_are_its_reverse_zones() -> None:
    """As CoreDNS reads them; `10.244.0.0/16` was a zone of that name, in which nobody asks anything."""
    text = ".:53 {\n kubernetes cluster.local 10.244.0.0/16 fd00::/8\n}"
    (found,) = Generation(text, DnsOptions(Path("Corefile")), Context(SystemClock(), Registry(), print)).kubernetes
    assert found.options.domains == ("cluster.local",)
    assert found.options.reverse == ("244.10.in-addr.arpa", "d.f.ip6.arpa")
