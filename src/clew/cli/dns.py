"""clew dns: the DNS server, as the manifests start it."""

from pathlib import Path
from typing import Any

import click


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
