"""Which Corefiles leave a cluster's names to the kubernetes plugin alone."""

import re
from importlib import resources

import pytest
import yaml

from clew.servers.dns.plain import NotPlainError, Plain, plain

KUBERNETES = "kubernetes cluster.local in-addr.arpa ip6.arpa {\n pods insecure\n fallthrough in-addr.arpa ip6.arpa\n}"


def test_the_corefile_that_is_installed_is_plain() -> None:
    text = resources.files("clew.app.manifests").joinpath("dns.yaml").read_text(encoding="utf-8")
    (found,) = [each for each in yaml.safe_load_all(text) if each["kind"] == "ConfigMap"]
    assert plain(found["data"]["Corefile"]) == Plain("cluster.local", 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f".:53 {{\n{KUBERNETES}\n}}", Plain("cluster.local", 5)),
        (". {\nkubernetes k8s.example {\nttl 30\n}\ncache 30\nforward . 192.0.2.1\n}", Plain("k8s.example", 30)),
        ("cluster.local in-addr.arpa {\nkubernetes\n}\n. {\nrewrite name a b\n}", Plain("cluster.local", 5)),
        (f". {{\n{KUBERNETES}\n}}\nexample.org {{\nhosts\n}}\n", Plain("cluster.local", 5)),
        ("(common) {\nerrors\n}\n. {\nimport common\nkubernetes cluster.local\n}", Plain("cluster.local", 5)),
        (f". {{\n{KUBERNETES}\n}}\ncluster.local:5353 {{\nhosts\n}}\n", Plain("cluster.local", 5)),
    ],
)  # fmt: skip
def test_plain(text: str, expected: Plain) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((f". {{\n{KUBERNETES}\n{each}\n}}", f"Corefile:6:1: '{each.split()[0]}' stands") for each in (
            "rewrite name a.cluster.local b.cluster.local", "template IN A", "autopath @kubernetes", "acl {\n}",
            "hosts", "log", "local", "minimal", "rrl", "bind 127.0.0.1", "something_new",
        )),
        (". {\nforward . 192.0.2.1\n}", "0 server blocks of port 53 have the plugin kubernetes"),
        (". {\nkubernetes\n}", "it serves no domain"),
        (". {\nkubernetes in-addr.arpa\n}", "it serves no domain"),
        (". {\nkubernetes cluster.local {\nfallthrough\n}\n}", "names of cluster.local fall through"),
        (". {\nkubernetes cluster.local {\nfallthrough svc.cluster.local\n}\n}", "fall through"),
        (". {\nkubernetes cluster.local {\nnamespaces shop\n}\n}", "a part of the cluster"),
        (". {\nkubernetes cluster.local {\nlabels a=b\n}\n}", "a part of the cluster"),
        (". {\nkubernetes cluster.local {\nignore empty_service\n}\n}", "a part of the cluster"),
        (". {\nkubernetes cluster.local {\nendpoint https://192.0.2.1\n}\n}", "another cluster"),
        (". {\nkubernetes cluster.local shop.svc.cluster.local\n}", "shop.svc.cluster.local takes names"),
        (f". {{\n{KUBERNETES}\n}}\nsvc.cluster.local {{\nhosts\n}}", "svc.cluster.local takes names"),
        (f". {{\n{KUBERNETES}\n}}\nlocal {{\nhosts\n}}", "local takes names"),
        (f". {{\n{KUBERNETES}\n}}\ncluster.local {{\nhosts\n}}", "cluster.local takes names"),
        (f"example.org {{\n{KUBERNETES}\n}}", "does not serve cluster.local"),
        (f". {{\n{KUBERNETES}\n}}\nx.test {{\n{KUBERNETES}\n}}", "2 server blocks"),
        (". {\nimport custom/*.override\nkubernetes cluster.local\n}", "a file of another machine"),
        (". {\nkubernetes {$DOMAIN}\n}", "variables of the server's own process"),
        (". {\nkubernetes cluster.local\n", "never closed"),
        ("", "no server block"),
        (f".:1053 {{\n{KUBERNETES}\n}}", "0 server blocks"),
    ],
)  # fmt: skip
def test_not_plain(text: str, said: str) -> None:
    with pytest.raises(NotPlainError, match=re.escape(said)):
        plain(text)
