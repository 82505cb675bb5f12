"""clew install: Clew's manifests for a real cluster."""

import asyncio

import click


@click.command(short_help="Apply Clew's manifests to a cluster.")
@click.option("--dry-run", is_flag=True, help="Print them instead.")
@click.option("--kubeconfig", default="", envvar="KUBECONFIG", help="The cluster.")
@click.option("--pod-cidr", default="10.244.0.0/16", show_default=True, help="Of all pods, one range a family.")
@click.option("--service-cidr", default="10.96.0.0/12", show_default=True, help="Of all services, likewise.")
@click.option("--api-server", default="", help="HOST:PORT by which nodes reach the API server without services.")
def install(*, dry_run: bool, kubeconfig: str, pod_cidr: str, service_cidr: str, api_server: str) -> None:
    """Apply the agent and DNS to a cluster, or print the manifests."""
    from clew.app.install import InstallOptions, apply, text  # noqa: PLC0415 - loaded when called

    options = InstallOptions(kubeconfig, pod_cidr, service_cidr, api_server)
    if dry_run:
        click.echo(text(options), nl=False)
        return
    for line in asyncio.run(apply(options)):
        click.echo(line)
