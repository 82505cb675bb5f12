"""kube-proxy's flags: all of them are there, they mean what a file means, and they are refused by their names."""

import json
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from clew.app import agent_config, kube_proxy_defaults
from clew.app.agent import api_client
from clew.app.agent_config import AgentOptions
from clew.app.kube_proxy_flags import FLAGS
from clew.app.kube_proxy_settings import conntrack_sysctls, proxy_settings
from clew.app.kubeconfig import entry
from clew.base.errors import UserError
from clew.cli.agent import agent
from clew.cli.main import cli
from clew.cluster.ca import Authority

PROXY = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
AGENT = "apiVersion: clew.dev/v1alpha1\nkind: AgentConfiguration\nmtu: 1400\n"
KUBE_PROXYS = """
bind-address bind-address-hard-fail cleanup cluster-cidr config config-sync-period conntrack-max-per-core
conntrack-min conntrack-tcp-be-liberal conntrack-tcp-timeout-close-wait conntrack-tcp-timeout-established
conntrack-udp-timeout conntrack-udp-timeout-stream detect-local-mode feature-gates healthz-bind-address help
hostname-override init-only iptables-localhost-nodeports iptables-masquerade-bit iptables-min-sync-period
iptables-sync-period ipvs-exclude-cidrs ipvs-min-sync-period ipvs-scheduler ipvs-strict-arp ipvs-sync-period
ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout kube-api-burst kube-api-content-type kube-api-qps kubeconfig
log-flush-frequency logging-format masquerade-all master metrics-bind-address nodeport-addresses oom-score-adj
pod-bridge-interface pod-interface-name-prefix profiling proxy-mode show-hidden-metrics-for-version v vmodule
write-config-to
""".split()  # noqa: SIM905 - a list to read; of `kube-proxy --help` 1.36 on Linux


def typed(*arguments: str) -> AgentOptions:
    """What the command makes of its arguments, up to where it would start the agent."""
    found: list[AgentOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clew.app.agent.main", found.append)
        done = CliRunner(env={"NODE_NAME": ""}).invoke(cli, ["agent", *arguments])
    assert found, done.output or done.exception
    return found[0]


def test_every_flag_of_kube_proxy_is_there() -> None:
    context = click.Context(agent, help_option_names=["-h", "--help"])
    options = {name.removeprefix("--") for each in agent.get_params(context) for name in each.opts}
    assert set(KUBE_PROXYS) <= options


VALUES: dict[str, Any] = {
    "text": "x", "number": 7, "level": 7, "real": 0.5, "switch": True, "list": ("10.0.0.0/8",), "duration": "40s",
    "pause": "40s", "gates": ("A=true",), "levels": ("a=1",),
}  # fmt: skip
CHECKED = {
    "proxy-mode": "ipvs", "detect-local-mode": "NodeCIDR", "cluster-cidr": "10.0.0.0/8", "bind-address": "192.0.2.7",
    "healthz-bind-address": "192.0.2.7", "metrics-bind-address": "192.0.2.7:9", "ipvs-scheduler": "wlc",
    "iptables-min-sync-period": "2s", "ipvs-min-sync-period": "2s",
}  # fmt: skip


@pytest.mark.parametrize("flag", FLAGS.values(), ids=lambda flag: flag.name)
def test_every_flag_is_a_field_of_the_file(flag: Any) -> None:
    plain = msgspec.to_builtins(agent_config.parse("").proxy)
    given = agent_config.parse("", [(flag.name, CHECKED.get(flag.name, VALUES[flag.kind]))])
    found = msgspec.to_builtins(given.proxy)
    differ = {
        f"{section}.{name}" if isinstance(value, dict) and isinstance(plain[section], dict) else section
        for section, value in found.items()
        for name in (value if isinstance(value, dict) else [section])
        if (value[name] if isinstance(value, dict) else value)
        != (plain[section].get(name) if isinstance(plain[section], dict) else plain[section])
    }
    sections = {field.partition(".")[0] for field in flag.fields if plain[field.partition(".")[0]] is None}
    assert differ == {each for each in flag.fields if each.partition(".")[0] not in sections} | sections


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["--proxy-mode", "iptables", "--masquerade-all"],
         "mode: iptables\niptables: {masqueradeAll: true}\nnftables: {masqueradeAll: true}\n"),
        (["--proxy-mode=ipvs", "--ipvs-scheduler=wlc", "--ipvs-strict-arp=true",
          "--ipvs-exclude-cidrs=10.0.0.0/8,fd00::/8"],
         "mode: ipvs\nipvs: {scheduler: wlc, strictARP: true, excludeCIDRs: [10.0.0.0/8, 'fd00::/8']}\n"),
        (["--nodeport-addresses", "10.0.0.0/8", "--nodeport-addresses=192.0.2.0/24,fd00::/8"],
         "nodePortAddresses: [10.0.0.0/8, 192.0.2.0/24, 'fd00::/8']\n"),
        (["--cluster-cidr", "10.1.0.0/16,fd01::/48", "--detect-local-mode=ClusterCIDR"],
         "clusterCIDR: 10.1.0.0/16,fd01::/48\ndetectLocalMode: ClusterCIDR\n"),
        (["--conntrack-max-per-core=1000", "--conntrack-min=5", "--conntrack-tcp-timeout-established=1h",
          "--conntrack-tcp-be-liberal"],
         "conntrack: {maxPerCore: 1000, min: 5, tcpEstablishedTimeout: 1h, tcpBeLiberal: true}\n"),
        (["--iptables-sync-period=1m", "--iptables-min-sync-period=2s"],
         "iptables: {syncPeriod: 1m, minSyncPeriod: 2s}\nnftables: {syncPeriod: 1m, minSyncPeriod: 2s}\n"),
        (["--oom-score-adj=-999", "--bind-address=::"], "oomScoreAdj: -999\nbindAddress: '::'\n"),
        (["--feature-gates", "A=true,B=false"], "featureGates: {A: true, B: false}\n"),
        (["--hostname-override", " Node-7 "], "hostnameOverride: node-7\n"),
        (["-v=4", "--vmodule=proxier=5"], "logging: {verbosity: 4, vmodule: [{filePattern: proxier, verbosity: 5}]}\n"),
        (["--masquerade-all=false", "--profiling=f"], ""),
    ],
)  # fmt: skip
def test_flags_mean_what_a_file_means(arguments: list[str], file: str) -> None:
    flags = agent_config.load(typed(*arguments)).proxy
    from_file = agent_config.parse(PROXY + file).proxy
    assert flags == from_file
    assert proxy_settings(flags, "n") == proxy_settings(from_file, "n")
    assert conntrack_sysctls(flags, 4) == conntrack_sysctls(from_file, 4)


def test_no_pause_between_syncs_can_only_be_said_by_a_flag() -> None:
    """In a file 0s is kube-proxy's default of a second; its flag's 0 is no pause at all."""
    found = agent_config.load(typed("--proxy-mode=iptables", "--iptables-min-sync-period=0")).proxy
    assert proxy_settings(found, "n").least == 0.001
    assert proxy_settings(agent_config.parse(PROXY + "mode: iptables\n").proxy, "n").least == 1.0


def test_beside_a_file_that_speaks_of_the_proxy_only_some_flags_count(tmp_path: Path) -> None:
    """As with kube-proxy; but that it says nothing about what it passes over."""
    file = tmp_path / "config.yaml"
    file.write_text(PROXY + "mode: ipvs\nhostnameOverride: one\n")
    found = agent_config.load(
        typed("--config", str(file), "--proxy-mode=iptables", "--hostname-override=two", "--masquerade-all", "-v", "5")
    )
    assert (found.proxy.mode, found.proxy.hostname_override, found.proxy.verbosity) == ("ipvs", "two", 5)
    assert not found.proxy.iptables.masquerade_all
    assert found.passed_over == ("--proxy-mode", "--masquerade-all")


def test_beside_the_agents_own_file_all_count(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(AGENT)
    found = agent_config.load(typed("--config", str(file), "--proxy-mode=iptables"))
    assert (found.agent.mtu, found.proxy.mode, found.passed_over) == (1400, "iptables", ())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--proxy-mode=kernelspace"], "--proxy-mode: 'kernelspace' is for Windows"),
        (["--proxy-mode=fast"], "--proxy-mode: 'fast' is not a mode"),
        (["--ipvs-scheduler=fast"], "--ipvs-scheduler: 'fast' is not known"),
        (["--ipvs-sync-period=soon"], "--ipvs-sync-period: 'soon' is not a duration"),
        (["--iptables-sync-period=0s"], "--iptables-sync-period: must be greater than 0"),
        (["--iptables-sync-period=1s", "--iptables-min-sync-period=2s"], "--iptables-min-sync-period: 2 s is longer"),
        (["--nodeport-addresses=10.0.0.0/8,x/8"], "--nodeport-addresses: 'x"),
        (["--nodeport-addresses=primary,10.0.0.0/8"], "--nodeport-addresses: 'primary' stands alone"),
        (["--cluster-cidr=10.0.0.0"], "--cluster-cidr: '10.0.0.0' has no length"),
        (["--detect-local-mode=Guess"], "--detect-local-mode: 'Guess'"),
        (["--detect-local-mode=BridgeInterface", "--pod-bridge-interface=a/b"], "--pod-bridge-interface: 'a/b'"),
        (["--proxy-mode=iptables", "--iptables-masquerade-bit=32"], "--iptables-masquerade-bit: 32"),
        (["--conntrack-min=-1"], "--conntrack-min: -1 is negative"),
        (["--conntrack-udp-timeout=x"], "--conntrack-udp-timeout: 'x'"),
        (["--oom-score-adj=2000"], "--oom-score-adj: 2000"),
        (["--healthz-bind-address=0.0.0.0:99999"], "--healthz-bind-address"),
        (["--metrics-bind-address=localhost:1"], "--metrics-bind-address"),
        (["--bind-address=here"], "--bind-address: 'here' is no address"),
        (["--feature-gates=A"], "--feature-gates: 'A' has no value"),
        (["--feature-gates=A=maybe"], "--feature-gates: A=maybe"),
        (["--vmodule=a=b"], "--vmodule: a=b is no level"),
        (["--hostname-override= "], "--hostname-override: nothing but blanks"),
    ],
)
def test_what_does_not_hold_is_refused_by_the_flags_name(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as refused:
        agent_config.load(typed(*arguments))
    assert refused.value.message.startswith(words)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--iptables-masquerade-bit=x"], "'--iptables-masquerade-bit': 'x' is not a valid integer"),
        (["--masquerade-all=perhaps"], "'--masquerade-all': 'perhaps' is not a valid boolean"),
        (["-v=loud"], "'--v' / '-v': '=loud' is not a valid integer"),
        (["--proxy-modus=iptables"], "No such option"),
    ],
)
def test_a_flag_of_the_wrong_kind_is_named(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(cli, ["agent", *arguments])
    assert done.exit_code == 2
    assert words in done.output


def test_a_field_of_the_file_keeps_its_own_name() -> None:
    """Also where a flag stands beside it that does not count."""
    with pytest.raises(UserError, match=r"KubeProxyConfiguration: ipvs\.scheduler: 'fast'"):
        agent_config.parse(PROXY + "ipvs: {scheduler: fast}\n", [("hostname-override", "a"), ("ipvs-scheduler", "wlc")])


@pytest.mark.parametrize(("spelling", "wanted"), [("", True), ("=true", True), ("=false", False)])
def test_switches_are_spelt_as_in_go(spelling: str, wanted: bool) -> None:
    assert typed(f"--init-only{spelling}").init_only == wanted
    cleaned: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clew.app.agent.cleanup", lambda _: cleaned.append(1))
        patch.setattr("clew.app.agent.main", lambda _: None)
        assert CliRunner().invoke(cli, ["agent", f"--cleanup{spelling}"]).exit_code == 0
    assert bool(cleaned) == wanted


def test_the_node_is_who_somebody_says_or_the_machine() -> None:
    def name(*arguments: str) -> str:
        options = typed(*arguments)
        return agent_config.node_name(options, agent_config.load(options))

    assert name("--node=a", "--hostname-override=b") == "a"
    assert name("--hostname-override=B") == "b"
    assert name() == name().lower() != ""


@pytest.mark.parametrize("mode", ["", "nftables", "iptables", "ipvs", "userspace", "ebpf"])
def test_the_file_that_is_written_says_the_same_with_all_defaults(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "written.yaml"
    arguments = ["--cluster-cidr=10.1.0.0/16", f"--proxy-mode={mode}", "--ipvs-min-sync-period=3s"]
    done = CliRunner().invoke(cli, ["agent", *arguments, "--write-config-to", str(file)])
    assert (done.exit_code, done.output) == (0, "")
    before, after = agent_config.load(typed(*arguments)).proxy, agent_config.parse(file.read_text()).proxy
    assert proxy_settings(after, "n") == proxy_settings(before, "n")
    assert (after.healthz, after.metrics, after.ignored) == (before.healthz, before.metrics, before.ignored)
    assert after == kube_proxy_defaults.complete(after)
    assert (after.mode or "nftables") == (mode or "nftables")
    assert "mode: " in file.read_text()
    assert after.iptables.masquerade_bit == 14


def test_a_file_that_cannot_be_written_is_named() -> None:
    done = CliRunner().invoke(cli, ["agent", "--write-config-to", "/proc/none/file"])
    assert isinstance(done.exception, UserError)
    assert "cannot write /proc/none/file" in done.exception.message


def test_the_pages_follow_the_family_of_the_bind_address() -> None:
    found = agent_config.load(typed("--bind-address=::")).proxy
    assert (found.healthz, found.metrics) == ("[::]:10256", "[::1]:10249")


def test_the_primary_address_is_the_bind_address_where_there_is_one() -> None:
    found = agent_config.load(typed("--bind-address=192.0.2.7", "--nodeport-addresses=primary")).proxy
    settings = proxy_settings(found, "n")
    node = ("172.30.0.11", "fd00::b")
    assert settings.of(4, node).node_port_addresses == ("192.0.2.7",)
    assert settings.of(6, node).node_port_addresses == ("fd00::b",)


def test_help_has_a_section_for_each_group() -> None:
    lines = CliRunner().invoke(cli, ["agent", "--help"]).output.splitlines()
    titles = [line for line in lines if line and not line.startswith(" ") and line.endswith(":")]
    assert titles[:2] == ["Agent:", "Service proxy (kube-proxy's flags):"]
    assert len(titles) == 7
    assert max(map(len, lines)) <= 80


def test_master_replaces_the_kubeconfigs_server(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    credential = Authority.ensure(tmp_path / "pki")
    file.write_text(json.dumps(entry("a", "https://192.0.2.1:6443", credential.ca_pem, *credential.client("a", ()))))
    assert api_client(str(file), "").server == "https://192.0.2.1:6443"
    assert api_client(str(file), "https://192.0.2.2:6443").server == "https://192.0.2.2:6443"
    assert api_client("", "http://192.0.2.3:8080").server == "http://192.0.2.3:8080"
    with pytest.raises(UserError, match="--master: 'here' is no URL"):
        api_client("", "here")
