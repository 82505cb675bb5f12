"""clew doctor: what this machine can run, and what each missing thing costs."""

import click

from clew.cli.options import output, show


@click.command(short_help="Tell what this machine can run.")
@output
def doctor(output: str) -> None:
    """Tell what this kernel and machine can run; exit 1 where a lab cannot."""
    from clew.app.machine_check import checks  # noqa: PLC0415 - loaded when called

    rows = checks()
    show(rows, output)
    if any(row["found"] == "missing" and row["need"] == "lab" for row in rows):
        raise click.exceptions.Exit(1)
