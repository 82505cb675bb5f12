"""clew agent, clew dns: the long-running parts, as the manifests start them."""

from pathlib import Path

import click


@click.command(short_help="Run the node agent.")
@click.option("--config", type=click.Path(path_type=Path), required=True, help="Its configuration file.")
@click.option("--node", required=True, envvar="NODE_NAME", help="The Node that it runs on.")
def agent(config: Path, node: str) -> None:
    """Run the node agent: pod network, CNI and service proxy."""
    from clew.app.agent import AgentOptions, main  # noqa: PLC0415 - loaded when called

    main(AgentOptions(config, node))


@click.command(short_help="Run the DNS server.")
@click.option("--conf", type=click.Path(path_type=Path), default=Path("Corefile"), help="The Corefile.")
@click.option("--port", type=int, default=53, show_default=True, help="Of server blocks that name none.")
@click.option("--kubeconfig", default="", help="Instead of the service account's files.")
def dns(conf: Path, port: int, kubeconfig: str) -> None:
    """Run the DNS server, configured by a Corefile."""
    from clew.app.dns import DnsOptions, main  # noqa: PLC0415 - loaded when called

    main(DnsOptions(conf, port, kubeconfig=kubeconfig))
