"""clew node: be a host of the lab, and do to it what happens to machines."""

import os

import click

from clew.cli.options import lab_name

_ALL_ITS_OWN = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.group(short_help="Be a host of a lab; its power and its cable.")
def node() -> None:
    """Be a host of a lab, and do to it what happens to machines."""


@node.command("exec", context_settings=_ALL_ITS_OWN, short_help="Run a program in a host.")
@lab_name
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND, a program of this machine, in HOST: a node, or `outside`.

    Of `outside` there is only the network; a node has files, names and processes of its own. What follows HOST is the
    command's, with or without `--` before it.
    """
    _become(name, host, command[1:] if command[0] == "--" else command)


@node.command(short_help="Open a shell in a host.")
@lab_name
@click.argument("host")
def shell(name: str, host: str) -> None:
    """Open a shell ($SHELL, else /bin/sh) in HOST: a node, or `outside`."""
    _become(name, host, (os.environ.get("SHELL") or "/bin/sh",))


@node.command(short_help="Switch a node off.")
@lab_name
@click.argument("node")
def stop(name: str, node: str) -> None:
    """Pull NODE's plug: processes and network are gone, its disk stays. It stays off until `clew node start`."""
    _power(name, node, "stop")
    click.echo(f"node {node} is off")


@node.command(short_help="Switch a node on.")
@lab_name
@click.argument("node")
def start(name: str, node: str) -> None:
    """Switch NODE on again; kubectl tells when it is ready."""
    _power(name, node, "start")
    click.echo(f"node {node} starts")


@node.command(short_help="Cut a host's cable.")
@lab_name
@click.argument("host")
def cut(name: str, host: str) -> None:
    """Cut HOST's cable at the switch: it runs on, and nobody reaches it."""
    _cable(name, host, joined=False)
    click.echo(f"the cable of {host} is cut")


@node.command(short_help="Join a host's cable.")
@lab_name
@click.argument("host")
def join(name: str, host: str) -> None:
    """Join HOST's cable again."""
    _cable(name, host, joined=True)
    click.echo(f"the cable of {host} is joined")


def _become(name: str, host: str, command: tuple[str, ...]) -> None:
    from clew.app import lab_hosts, lab_state  # noqa: PLC0415 - loaded when called

    lab_state.need_root()
    lab_hosts.become(lab_state.paths_of(name), host, command)


def _power(name: str, node: str, op: str) -> None:
    from clew.app import lab_control, lab_state  # noqa: PLC0415 - loaded when called

    lab_state.need_root()
    with lab_state.locked(name):
        lab_control.ask(lab_state.paths_of(name), op, node=node)


def _cable(name: str, host: str, *, joined: bool) -> None:
    from clew.app import lab_cable, lab_state  # noqa: PLC0415 - loaded when called

    lab_state.need_root()
    with lab_state.locked(name):
        lab_cable.set_host_cable(lab_state.paths_of(name), host, joined=joined)
