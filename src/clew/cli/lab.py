"""clew up, down, ls, status, kubeconfig."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import click

from clew.base.errors import UserError
from clew.cli.options import lab_name, output, show


@click.command(short_help="Create or resume a lab.")
@lab_name
@click.option("--nodes", type=int, help="How many nodes; 3 where neither this nor the file says.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="A YAML document kind: Lab.")
@click.option(
    "--proxy-mode",
    metavar="MODE",
    help="How services are balanced: nftables (default), iptables, ipvs, userspace, ebpf.",
)
@click.option(
    "--network",
    metavar="BACKEND",
    help="How pods of different nodes reach each other: host-gw, vxlan, ipip, wireguard, ipsec, bgp, ospf.",
)
@click.option("--ip-family", type=click.Choice(["ipv4", "ipv6", "dual"]), help="Of pods and services.")
@click.option(
    "--wait", metavar="SECONDS", type=click.FloatRange(min=1), default=90, show_default=True, help="To be ready in."
)
def up(name: str, config: Path | None, wait: float, **chosen: Any) -> None:
    """Create a lab, or resume it as it was.

    Returns when nodes and DNS are ready and kubectl's current context is the lab's. A flag counts whatever the file
    says. A lab that runs changes over to another --network or --proxy-mode (network and proxy of the file); the rest of
    its shape is for good.
    """
    from clew.app import lab_state, lab_up  # noqa: PLC0415 - loaded when called
    from clew.app.lab_config import Flags  # noqa: PLC0415 - likewise

    lab_state.need_root()
    lab_state.need_programs()
    started = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - started:6.1f} s  {text}", err=True)

    def ended(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, ended)  # a job that is cancelled takes back what it made, as Ctrl-C does
    with lab_state.locked(name):
        lab_up.up(name, config, Flags(**chosen), say, wait)
    click.echo(f"lab {name} is up in {time.monotonic() - started:.1f} s; kubectl's context is clew-{name}")


@click.command(short_help="Remove a lab.")
@lab_name
@click.option("--all", "every", is_flag=True, help="Every lab of this machine.")
def down(name: str, *, every: bool) -> None:
    """Remove a lab and all it made."""
    from clew.app import lab_down, lab_state  # noqa: PLC0415 - loaded when called

    lab_state.need_root()
    refused = []
    for each in lab_state.names() if every else [name]:
        try:
            with lab_state.locked(each):
                there = lab_down.down(each)
            click.echo(f"lab {each} is removed" if there else f"there is no lab {each}")
        except UserError as error:  # of the others none is to stay behind for it
            refused.append(error)
    if refused:
        raise refused[0]


@click.command(short_help="List the labs of this machine.")
@output
def ls(output: str) -> None:
    """List the labs of this machine."""
    from clew.app import lab_record, lab_state  # noqa: PLC0415 - loaded when called

    lab_state.need_root()
    show(lab_record.labs(), output)


@click.command(short_help="Tell the health of a lab's parts.")
@lab_name
@output
def status(name: str, output: str) -> None:
    """Tell the health of every part of a lab, and what to do about one that is not well; exit 1 where there is one."""
    from clew.app import lab_state, lab_status  # noqa: PLC0415 - loaded when called

    lab_state.need_root()
    rows = asyncio.run(lab_status.parts(name))
    show(rows, output)
    if any(row["health"] == "failed" for row in rows):
        raise click.exceptions.Exit(1)


@click.command(short_help="Print a lab's kubeconfig.")
@lab_name
def kubeconfig(name: str) -> None:
    """Print a lab's kubeconfig."""
    from clew.app import lab_record, lab_state  # noqa: PLC0415 - loaded when called

    lab_state.need_root()
    click.echo(lab_record.kubeconfig_text(name), nl=False)
