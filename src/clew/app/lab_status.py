"""How every part of a lab is: the daemon, the nodes, the agents, DNS."""

from typing import Any

from clew.api.kinds import NODE, POD
from clew.app.lab import read_stored_spec
from clew.app.lab_commands import daemon_pid, lab_client
from clew.base.errors import UserError
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.power import supervisor_pid
from clew.watch.errors import ApiError

Row = dict[str, Any]


def _row(part: str, *, well: bool, detail: str) -> Row:
    return {"part": part, "health": "ok" if well else "failed", "detail": detail}


async def parts(name: str) -> list[Row]:
    """A row a part; UserError where there is no such lab."""
    paths = LabPaths(name)
    spec = read_stored_spec(paths)
    if spec is None:
        raise UserError(f"there is no lab {name}", f"try: clew up --name {name}")
    pid = daemon_pid(paths)
    rows = [_row("daemon", well=bool(pid), detail=f"pid {pid}" if pid else f"not running; see {paths.log}/daemon.log")]
    for name_of_node in spec.nodes:
        supervisor = supervisor_pid(paths, name_of_node)
        rows.append(_row(f"supervisor of {name_of_node}", well=bool(supervisor), detail=f"pid {supervisor}"))
    if not pid:
        return rows
    client = lab_client(paths)
    try:
        for node in (await client.list(NODE)).items:
            condition = next(each for each in node["status"]["conditions"] if each["type"] == "Ready")
            rows.append(
                _row(f"node {node['metadata']['name']}", well=condition["status"] == "True", detail=condition["reason"])
            )
        for pod in (await client.list(POD, "kube-system")).items:
            statuses = pod["status"].get("containerStatuses") or []
            well = bool(statuses) and all(each["ready"] for each in statuses)
            rows.append(_row(f"pod {pod['metadata']['name']}", well=well, detail=pod["status"].get("phase", "")))
    except ApiError as error:
        rows.append(_row("API server", well=False, detail=str(error)))
    finally:
        await client.close()
    return rows
