"""The agent and others that own the same names: it finds them, says who they are, and does not start."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.free_port import free_port

from clew.app import agent
from clew.app.agent_config import AgentConfiguration, AgentOptions, Configuration
from clew.app.agent_proxy import refuse_company
from clew.app.kube_proxy_config import parse
from clew.base.errors import UserError
from clew.servers.pages import Page, Pages, serve


def configuration(metrics: int, healthz: int) -> Configuration:
    addresses = {"metricsBindAddress": f"127.0.0.1:{metrics}", "healthzBindAddress": f"0.0.0.0:{healthz}"}
    return Configuration(AgentConfiguration(), parse(addresses))


@contextlib.asynccontextmanager
async def answering(port: int, pages: Pages) -> AsyncIterator[None]:
    task = asyncio.ensure_future(serve(f"127.0.0.1:{port}", pages))
    try:
        async with asyncio.timeout(30):
            while not task.done():
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_alone_it_starts() -> None:
    await refuse_company(configuration(free_port(), free_port()))


@pytest.mark.parametrize(
    ("path", "page", "words"),
    [
        ("/proxyMode", Page(b"iptables"), "a service proxy in mode iptables answers at 127.0.0.1"),
        ("/healthz", Page(b"{}", 503), "a service proxy answers at 0.0.0.0"),
    ],
)
async def test_a_proxy_that_answers_is_named(path: str, page: Page, words: str) -> None:
    metrics, healthz = free_port(), free_port()
    async with answering(metrics if path == "/proxyMode" else healthz, {path: lambda: page}):
        with pytest.raises(UserError) as refused:
            await refuse_company(configuration(metrics, healthz))
    assert words in refused.value.message
    assert "stop it first" in refused.value.remedy


async def test_one_that_listens_and_is_silent_is_there_too() -> None:
    """Once a proxy that hung counted as none, until its port could not be had."""
    metrics, healthz = free_port(), free_port()
    server = await asyncio.start_server(lambda _, __: asyncio.sleep(60), "127.0.0.1", healthz)
    try:
        with pytest.raises(UserError, match=f"listens, and does not answer, at 0.0.0.0:{healthz} already"):
            await refuse_company(configuration(metrics, healthz))
    finally:
        server.close()


async def test_rules_are_not_taken_away_from_a_proxy_that_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once `--cleanup` took those of the kube-proxy beside it, whose names are ours."""
    removed: list[int] = []
    monkeypatch.setattr("clew.app.agent.proxy_modes.remove_all", lambda: removed.append(1))
    monkeypatch.setattr("clew.app.agent.agent_dns.remove", lambda: None)
    metrics = free_port()
    file = tmp_path / "agent.yaml"
    file.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        f"metricsBindAddress: 127.0.0.1:{metrics}\nhealthzBindAddress: 127.0.0.1:{free_port()}\n"
    )
    async with answering(metrics, {"/proxyMode": lambda: Page(b"iptables")}):
        with pytest.raises(UserError, match="a service proxy in mode iptables answers"):
            await asyncio.to_thread(agent.cleanup, AgentOptions(file))
    assert not removed
    await asyncio.to_thread(agent.cleanup, AgentOptions(file))
    assert removed


async def test_a_kube_proxy_that_runs_is_named(tmp_path: Path) -> None:
    program = tmp_path / "kube-proxy"
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([program, "60"])  # noqa: ASYNC220 - it only has to be there
    try:
        async with asyncio.timeout(30):  # a process bears its program's name a moment after Popen returns
            while Path(f"/proc/{process.pid}/comm").read_text() != "kube-proxy\n":  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0)
        with pytest.raises(UserError, match=f"kube-proxy .process {process.pid}. serves this node already"):
            await refuse_company(configuration(free_port(), free_port()))
    finally:
        process.kill()
        process.wait()
    await refuse_company(configuration(free_port(), free_port()))
