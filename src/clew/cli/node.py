"""clew node exec: run a program of this machine as a host of the lab."""

import click

from clew.cli.options import lab_name


@click.group()
def node() -> None:
    """Be a host of the lab."""


@node.command("exec", context_settings={"ignore_unknown_options": True})
@lab_name
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in the network of HOST: a node, or `outside`."""
    from clew.app import lab_commands  # noqa: PLC0415 - loaded when called

    lab_commands.need_root()
    lab_commands.node_exec(name, host, command)
