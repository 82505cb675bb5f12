"""The command line: a subcommand's name, then its flags."""

import importlib
import sys

from .flags import UsageError

# module and function; imported when called, since a process uses one
COMMANDS = {
    "connect": ("connect", "main", "Attempts a TCP, UDP or SCTP connection and returns useful errors"),
    "dns-server-list": ("small", "dns_server_list", "Prints the host's DNS server list"),
    "dns-suffix": ("small", "dns_suffix", "Prints the host's DNS suffix list"),
    "entrypoint-tester": ("small", "entrypoint_tester", "Prints the args it's passed and exits"),
    "etc-hosts": ("small", "etc_hosts", "Prints the host's /etc/hosts file"),
    "netexec": ("netexec", "main", "Creates HTTP(S), UDP, and (optionally) SCTP servers with various endpoints"),
    "pause": ("small", "pause", "Pauses the execution"),
    "porter": ("porter", "main", "Serves requested data on ports specified in ENV variables"),
    "serve-hostname": ("serve_hostname", "main", "Serves the hostname"),
    "tcp-reset": ("small", "tcp_reset", "Serves on a TCP port and resets connections that send more than a byte"),
}


def main(arguments: list[str]) -> int:
    """The exit status of the subcommand in `arguments[0]`."""
    if not arguments or arguments[0] in {"help", "--help", "-h"}:
        lines = "\n".join(f"  {name:18}{text}" for name, (_, _, text) in COMMANDS.items())
        sys.stdout.write(f"Usage:\n  agnhost [command]\n\nAvailable Commands:\n{lines}\n")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        sys.stderr.write(
            f'Error: unknown command "{name}" for "agnhost"\nRun \'agnhost --help\' for usage. (This is a stand-in; it '
            "has the original's networking subcommands only.)\n"
        )
        return 1
    module, function, _ = COMMANDS[name]
    try:
        status: int = getattr(importlib.import_module(f".{module}", __package__), function)(rest)
    except UsageError as problem:
        sys.stderr.write(f"Error: {problem}\nRun 'agnhost --help' for usage.\n")
        return 1
    except OSError as problem:
        sys.stderr.write(f"{name}: {problem.strerror or problem}\n")
        return 1
    return status
