"""What `--help` says: one voice, nothing left undescribed, and the list of commands tells what each tells of itself."""

import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from clew.app import machine_check
from clew.cli.main import COMMANDS, cli, main


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))


EVERY = dict(commands(cli))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_and_option_is_described(path: tuple[str, ...]) -> None:
    command = EVERY[path]
    assert command.help, path
    assert command.help.split("\n\n")[0].rstrip().endswith("."), command.help
    assert command.help[0].isupper()
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{' '.join(path)} {option.opts}"
            assert option.help.rstrip("] ").endswith(".") or "[" in option.help, f"{' '.join(path)}: {option.help}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_they_say(name: str) -> None:
    assert EVERY[name,].get_short_help_str(limit=100) == COMMANDS[name][1]


def test_help_is_quick_because_it_loads_no_command() -> None:
    done = CliRunner().invoke(cli, ["--help"])
    assert done.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert name in done.output
        assert text.split()[0] in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["upp"], "No such command 'upp'"),
        (["node", "exec", "node-1"], "Missing argument 'COMMAND...'"),
        (["up", "--nodes", "x"], "'x' is not a valid integer"),
    ],
)
def test_a_mistyped_command_says_what_is_wrong(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code != 0
    assert message in done.output


def test_a_command_that_finds_a_fault_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command raises as `Exit` click hands back: doctor and status ended with 0, whatever they had found."""
    monkeypatch.setattr(sys, "argv", ["clew", "doctor"])
    monkeypatch.setattr(machine_check, "_PROGRAMS", (("no-such-program", "lab", "no containers"),))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
