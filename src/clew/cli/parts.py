"""clew agent, clew dns: the long-running parts, as the manifests start them."""

from pathlib import Path
from typing import Any

import click


@click.command(short_help="Run the node agent.")
@click.option("--config", type=click.Path(path_type=Path), help="Its configuration file.")
@click.option("--node", envvar="NODE_NAME", help="The Node that it runs on.")
@click.option("--init-only", is_flag=True, help="Do what needs rights beyond the service rules, and end.")
@click.option("--cleanup", is_flag=True, help="Take the service rules of every proxy mode away, and end.")
def agent(config: Path | None, node: str | None, *, init_only: bool, cleanup: bool) -> None:
    """Run the node agent: pod network, CNI and service proxy."""
    from clew.app import agent as app  # noqa: PLC0415 - loaded when called
    from clew.app.agent_config import AgentOptions  # noqa: PLC0415

    if cleanup:
        app.cleanup()
        return
    if config is None or node is None:
        missing = "--config" if config is None else "--node (or NODE_NAME)"
        raise click.UsageError(f"the agent needs {missing}")
    app.main(AgentOptions(config, node, init_only))


@click.command(short_help="Run the DNS server.")
@click.option("--conf", type=click.Path(path_type=Path), default=Path("Corefile"), help="The Corefile.")
@click.option("--port", type=int, default=53, show_default=True, help="Of server blocks that name none.")
@click.option("--kubeconfig", default="", help="Instead of the service account's files.")
@click.option("--localip", default="", help="Take questions to these addresses on this node, e.g. 169.254.20.10.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that answer.")
@click.option("--leader", type=int, default=-1, hidden=True, help="Set by the first of several workers for the rest.")
def dns(**given: Any) -> None:
    """Run the DNS server, configured by a Corefile."""
    from clew.app.dns import DnsOptions, main  # noqa: PLC0415 - loaded when called
    from clew.app.dns_local import parsed  # noqa: PLC0415 - loaded when called

    main(DnsOptions(local=parsed(given.pop("localip")), **given))
