"""Which programs iptables, iptables-save … are, where links in /etc/alternatives say so, as on Debian and Ubuntu.

For machines whose /etc is their own: a lab's nodes, so that `iptables-save` shows there what their agent wrote. Nobody
else's links are touched.
"""

from pathlib import Path

from clew.kernel import modules

FOLDER = Path("/etc/alternatives")
PROGRAMS = Path("/usr/sbin")
TABLES = Path("/proc/net/ip_tables_names")  # there once the module is
WORDS = tuple(f"{program}{suffix}" for program in ("iptables", "ip6tables") for suffix in ("", "-save", "-restore"))


def legacy() -> dict[str, str]:
    """Links, by path, by which plain names mean the legacy programs, as KernelIptables takes them.

    None where the machine has no such links or programs, or its kernel none of their tables. Finding out makes no table
    and loads no module. Blocking.
    """
    if not (TABLES.exists() or modules.loadable("iptable_nat")):
        return {}
    wanted = {FOLDER / word: PROGRAMS / word.replace("tables", "tables-legacy") for word in WORDS}
    return {str(link): str(program) for link, program in wanted.items() if link.is_symlink() and program.exists()}
