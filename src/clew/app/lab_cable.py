"""The cables of a lab's hosts, cut and joined by `clew node cut` and `clew node join`. The daemon need not run."""

from clew.app.lab_spec import the_spec
from clew.base.errors import UserError
from clew.cluster.fabric import set_cable
from clew.cluster.paths import LabPaths
from clew.kernel.errors import KernelError


def set_host_cable(paths: LabPaths, name: str, *, joined: bool) -> None:
    """Cut or join the cable of a node or of the host outside; the daemon need not run. UserError."""
    fabric = the_spec(paths).fabric()
    try:
        set_cable(paths, fabric.host(name), joined=joined)
    except KeyError:
        known = " ".join(each.name for each in fabric.hosts)
        raise UserError(f"lab {paths.name} has no host {name!r}", f"hosts: {known}") from None
    except KernelError as error:
        raise UserError(f"{name} has no cable now: {error}", f"see clew status --name {paths.name}") from None
