"""What commands make of a lab's files: a client, its kubeconfig as text, its images, the list of labs."""

from typing import Any

import yaml

from clew.app.lab_spec import stored_spec
from clew.app.lab_state import KUBECONFIG, daemon_pid, names, paths_of, stored_kubeconfig
from clew.base.errors import UserError
from clew.cluster.images import ImageService, OwnProgram
from clew.cluster.paths import LabPaths
from clew.watch.client import Client


def kubeconfig_text(name: str) -> str:
    """A lab's kubeconfig as YAML; UserError where there is none."""
    found = stored_kubeconfig(paths_of(name))
    if found is None:
        raise UserError(f"lab {name} has not come up yet", f"try: clew up --name {name}")
    return yaml.safe_dump(found, sort_keys=False)


def image_service(name: str) -> ImageService:
    """The lab's images, from a command beside the daemon."""
    return ImageService(paths_of(name).images, OwnProgram.running())


def lab_client(paths: LabPaths) -> Client:
    """A client of the lab's API server as its administrator."""
    if stored_kubeconfig(paths) is None or not daemon_pid(paths):
        raise UserError(f"lab {paths.name} is not running", f"try: clew up --name {paths.name}")
    return Client.from_kubeconfig(paths.state / KUBECONFIG)


def labs() -> list[dict[str, Any]]:
    """A row a lab."""
    found: list[dict[str, Any]] = []
    for name in names():
        paths = LabPaths(name)
        try:
            spec = stored_spec(paths)
        except UserError:
            spec = None
        state = "running" if daemon_pid(paths) else "stopped"
        row = {"name": name, "nodes": 0, "family": "", "state": "broken"}
        if spec is not None:
            row = {"name": name, "nodes": len(spec.nodes), "family": spec.family, "state": state}
        found.append({**row, "context": f"clew-{name}"})
    return found
