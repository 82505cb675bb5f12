"""`clew`: the commands, each loaded only when it is called."""

import importlib
import sys

import click

from clew import __version__
from clew.base.errors import UserError, WorldError

# command: module and one line of help, so that --help loads none of them
COMMANDS = {
    "up": ("lab", "Create or resume a lab."),
    "down": ("lab", "Remove a lab."),
    "ls": ("lab", "List the labs of this machine."),
    "status": ("lab", "Tell the health of a lab's parts."),
    "kubeconfig": ("lab", "Print a lab's kubeconfig."),
    "node": ("node", "Be a host of a lab; its power and its cable."),
    "load": ("images", "Load an image archive into a lab."),
    "images": ("images", "List a lab's images."),
    "doctor": ("doctor", "Tell what this machine can run."),
    "install": ("install", "Apply Clew's manifests to a cluster."),
    "agent": ("agent", "Run the node agent."),
    "dns": ("dns", "Run the DNS server."),
}


class Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"clew.cli.{COMMANDS[cmd_name][0]}")
        found: click.Command = getattr(module, cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clew")
def cli() -> None:
    """Kubernetes cluster networking, whole, on the real Linux kernel."""


def main() -> None:
    """The entry point: refusals are one line on stderr and exit 1."""
    try:
        sys.exit(cli(standalone_mode=False))  # click returns the code of an `Exit`, it does not raise it
    except (UserError, WorldError) as error:
        sys.stderr.write(f"clew: {error}\n")
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("clew: interrupted\n")
        sys.exit(130)
