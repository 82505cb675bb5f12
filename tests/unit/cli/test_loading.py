"""`clew node exec` is typed in loops: what it loads is most of what it costs."""

import subprocess
import sys

HEAVY = ("asyncio", "clew.cluster.images", "clew.compile", "clew.dataplane", "clew.kernel.netlink", "ssl", "yaml")


def test_being_a_host_loads_nothing_heavy() -> None:
    """It loaded 356 modules, images, netlink and BPF among them: a quarter of a second before anything began."""
    code = "import sys, clew.cli.main, clew.cli.node, clew.app.lab_hosts, clew.app.lab_state; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [each for each in loaded if each.startswith(HEAVY)] == []
