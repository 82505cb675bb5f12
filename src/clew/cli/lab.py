"""clew up, down, ls, status, kubeconfig."""

import asyncio
import time
from pathlib import Path

import click

from clew.cli.options import lab_name, output, show


@click.command(short_help="Create or resume a lab.")
@lab_name
@click.option("--nodes", type=int, default=None, help="How many nodes.  [default: 3]")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="A YAML document kind: Lab.")
@click.option("--proxy-mode", help="The service proxy's mode.  [default: nftables]")
@click.option("--network", help="How pods of different nodes reach each other: host-gw.")
@click.option("--ip-family", type=click.Choice(["ipv4", "ipv6", "dual"]), default=None)
@click.option("--wait", type=click.FloatRange(min=1), default=90, show_default=True, help="Seconds to be ready in.")
def up(name: str, config: Path | None, wait: float, **chosen: str | int | None) -> None:
    """Create a lab, or resume it; returns when nodes and DNS are ready and kubectl's context points at it."""
    from clew.app import lab_commands, lab_config  # noqa: PLC0415 - loaded when called

    lab_commands.need_root()
    lab_commands.need_programs()
    mode = chosen.pop("proxy_mode")
    spec = lab_config.read_spec(name, config, {**chosen, "proxy": {"mode": mode} if mode else None})
    started = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - started:6.1f} s  {text}", err=True)

    with lab_commands.locked(name):
        lab_commands.up(spec, say, wait)
    click.echo(f"lab {name} is up in {time.monotonic() - started:.1f} s; kubectl's context is clew-{name}")


@click.command(short_help="Remove a lab.")
@lab_name
@click.option("--all", "every", is_flag=True, help="Every lab of this machine.")
def down(name: str, *, every: bool) -> None:
    """Remove a lab and all it made."""
    from clew.app import lab_commands  # noqa: PLC0415 - loaded when called

    lab_commands.need_root()
    for each in [lab["name"] for lab in lab_commands.labs()] if every else [name]:
        with lab_commands.locked(each):
            there = lab_commands.down(each)
        click.echo(f"lab {each} is removed" if there else f"there is no lab {each}")


@click.command(short_help="List the labs of this machine.")
@output
def ls(output: str) -> None:
    """List the labs of this machine."""
    from clew.app import lab_commands  # noqa: PLC0415 - loaded when called

    show(lab_commands.labs(), output)


@click.command(short_help="Tell the health of a lab's parts.")
@lab_name
@output
def status(name: str, output: str) -> None:
    """Tell the health of every part of a lab; exit 1 where one is not well."""
    from clew.app import lab_status  # noqa: PLC0415 - loaded when called

    rows = asyncio.run(lab_status.parts(name))
    show(rows, output)
    if any(row["health"] != "ok" for row in rows):
        raise click.exceptions.Exit(1)


@click.command(short_help="Print a lab's kubeconfig.")
@lab_name
def kubeconfig(name: str) -> None:
    """Print a lab's kubeconfig."""
    from clew.app.lab_commands import kubeconfig_text  # noqa: PLC0415 - loaded when called

    click.echo(kubeconfig_text(name), nl=False)
