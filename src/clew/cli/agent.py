"""clew agent: the node agent, with the flags of kube-proxy beside its own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from clew.app.kube_proxy_flags import FLAGS, GROUPS, Flag, Kind

TYPES: dict[Kind, tuple[Any, str]] = {
    "text": (str, "TEXT"),
    "number": (int, "NUMBER"),
    "level": (str, "NUMBER"),
    "real": (float, "NUMBER"),
    "switch": (bool, ""),
    "list": (str, "A,B,…"),
    "duration": (str, "DURATION"),
    "pause": (str, "DURATION"),
    "gates": (str, "A=B,…"),
    "levels": (str, "A=B,…"),
}
SWITCH: dict[str, Any] = {
    "type": bool,
    "metavar": "",
    "is_flag": False,
    "flag_value": "true",
}  # as Go has them: `--cleanup`, `--cleanup=true`
MANY = {"list", "gates", "levels"}  # may be given more than once
OWN = "Agent"


class _Flag(click.Option):
    """An option as the table has it."""

    def __init__(self, flag: Flag) -> None:
        of, shape = TYPES[flag.kind]
        more: dict[str, Any] = {"type": of, "metavar": shape, "multiple": flag.kind in MANY}
        names = [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])]
        if flag.kind == "switch":
            more |= SWITCH
        if flag.kind == "level":
            more["callback"] = _level
        super().__init__([*names, _parameter(flag.name)], help=flag.help, **more)


class _Agent(click.Command):
    """Its help has a section for each group of flags."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups = {_parameter(flag.name): title for title, flags in GROUPS.items() for flag in flags}
        for title in (OWN, *GROUPS):
            params = [each for each in self.get_params(ctx) if groups.get(each.name or "", OWN) == title]
            rows = [row for each in params if (row := each.get_help_record(ctx)) is not None]
            with formatter.section(title if title == OWN else f"{title} (kube-proxy's flags)"):
                formatter.write_dl(rows)


def _level(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """A number; Go's programs take `-v=4` for `-v 4`."""
    if value is None:
        return None
    try:
        return int(value.removeprefix("="))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a valid integer.") from None


def _parameter(name: str) -> str:
    return "kube_proxy_" + name.replace("-", "_")


def _given(values: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Flags that were typed."""
    for name in FLAGS:
        value = values[_parameter(name)]
        if value is not None and value != ():
            yield name, value


@click.command(cls=_Agent, short_help="Run the node agent.", params=[_Flag(flag) for flag in FLAGS.values()])
@click.option("--config", type=click.Path(path_type=Path), help="Its configuration file.")
@click.option("--node", default="", envvar="NODE_NAME", help="The Node that it runs on; else the machine's name.")
@click.option("--master", default="", metavar="URL", help="The API server's address, whatever a kubeconfig says.")
@click.option("--write-config-to", type=click.Path(path_type=Path), help="Write kube-proxy's configuration, and end.")
@click.option("--init-only", **SWITCH, help="Do what needs rights beyond the service rules, and end.")
@click.option("--cleanup", **SWITCH, help="Take the service rules of every proxy mode away, and end.")
def agent(
    config: Path | None,
    node: str,
    master: str,
    write_config_to: Path | None,
    *,
    init_only: bool | None,
    cleanup: bool | None,
    **flags: Any,
) -> None:
    """Run the node agent: pod network, CNI and service proxy.

    kube-proxy's flags say what a KubeProxyConfiguration says. Where --config names a file that has one, only
    --hostname-override and those of logging count, as with kube-proxy.
    """
    from clew.app import agent as app  # noqa: PLC0415 - loaded when called
    from clew.app.agent_config import AgentOptions  # noqa: PLC0415

    options = AgentOptions(config, node, bool(init_only), tuple(_given(flags)), master)
    if cleanup:
        app.cleanup(options)
    elif write_config_to is not None:
        app.write_configuration(options, write_config_to)
    else:
        app.main(options)
