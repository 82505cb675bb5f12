"""Options that several commands share, and how they print."""

import json
from collections.abc import Sequence
from typing import Any

import click

from clew.base.table import text_table

lab_name = click.option("--name", default="clew", envvar="CLEW_NAME", show_default=True, help="The lab.")
output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print.")


def show(rows: Sequence[dict[str, Any]], how: str) -> None:
    """A table, or JSON; a column in which nothing stands is left out of the table."""
    if how == "json":
        click.echo(json.dumps(list(rows), indent=2))
    elif rows:
        keys = [key for key in rows[0] if any(row[key] not in ("", None) for row in rows)]
        click.echo(text_table([key.upper() for key in keys], [[str(row[key]) for key in keys] for row in rows]))
    else:
        click.echo("none")
