"""How every part of a lab is, and what to do about one that is not well."""

from typing import Any

from clew.api.kinds import NODE, POD
from clew.api.objects import Object
from clew.app import lab_control
from clew.app.lab_hosts import switched_off
from clew.app.lab_ready import ready_condition
from clew.app.lab_record import lab_client
from clew.app.lab_spec import LabSpec, the_spec
from clew.app.lab_state import daemon_pid
from clew.base.errors import UserError
from clew.cluster.fabric import cut_hosts
from clew.cluster.paths import LabPaths
from clew.cluster.runtime.location import supervisor_pid
from clew.kernel.errors import KernelError
from clew.watch.client import Client
from clew.watch.errors import ApiError

Row = dict[str, Any]
_PATIENCE = 5.0  # seconds for a daemon to answer


def _row(part: str, detail: str, remedy: str = "", health: str = "") -> Row:
    """A part that needs a remedy is not well."""
    return {"part": part, "health": health or ("failed" if remedy else "ok"), "detail": detail, "remedy": remedy}


async def parts(name: str) -> list[Row]:
    """A row a part; UserError where there is no such lab."""
    paths = LabPaths(name)
    spec = the_spec(paths)
    pid = daemon_pid(paths)
    resume = f"clew up --name {name}"
    rows = [_row("daemon", f"pid {pid}") if pid else _row("daemon", "not running", resume)]
    if pid:
        rows += _daemon_parts(paths)
    rows += _hosts(paths, spec, resume)
    if not pid:
        return rows
    client = lab_client(paths)
    try:
        rows += await _in_the_cluster(client, switched_off(paths))
    except ApiError as error:
        rows.append(_row("API server", str(error), f"see {paths.log}/daemon.log"))
    finally:
        await client.close()
    return rows


def _daemon_parts(paths: LabPaths) -> list[Row]:
    try:
        states = lab_control.ask(paths, "parts", _PATIENCE)
    except UserError as error:
        return [_row("daemon's parts", error.message, error.remedy)]
    rows = []
    for state in states:
        detail = state["health"] + (f", restarted {state['restarts']} times" if state["restarts"] else "")
        bad = state["health"] == "failed"
        rows.append(_row(state["name"], f"{detail}: {state['problem']}" if bad else detail,
                         f"see {paths.log}/daemon.log" if bad else ""))  # fmt: skip
    return rows


def _hosts(paths: LabPaths, spec: LabSpec, resume: str) -> list[Row]:
    """The nodes as machines, and every host's cable."""
    rows, off = [], switched_off(paths)
    try:
        cut = cut_hosts(paths, spec.fabric())
    except KernelError:
        cut = []
    flag = f" --name {paths.name}" if paths.name != "clew" else ""
    for node in spec.node_names:
        pid = supervisor_pid(paths, node)
        part = f"supervisor of {node}"
        if node in off:
            rows.append(_row(part, "switched off", f"clew node start{flag} {node}", "off"))
        else:
            rows.append(_row(part, f"pid {pid}") if pid else _row(part, "not running", resume))
    return rows + [_row(f"cable of {host}", "cut", f"clew node join{flag} {host}", "cut") for host in cut]


async def _in_the_cluster(client: Client, off: list[str]) -> list[Row]:
    """The nodes and Clew's own pods as the API server knows them."""
    rows = []
    for node in (await client.list(NODE)).items:
        name, ready = node["metadata"]["name"], ready_condition(node)
        well = ready.get("status") == "True" or name in off
        rows.append(_row(f"node {name}", ready.get("reason", "it has not reported yet"),
                         "" if well else f"kubectl describe node {name}"))  # fmt: skip
    pods = (await client.list(POD, "kube-system")).items
    return rows + [_pod(pod) for pod in pods if pod["spec"].get("nodeName") not in off]


def _pod(pod: Object) -> Row:
    statuses = pod["status"].get("containerStatuses") or []
    waiting = [each["state"]["waiting"]["reason"] for each in statuses if "waiting" in (each.get("state") or {})]
    detail = ", ".join(waiting) or pod["status"].get("phase", "Pending")
    well = bool(statuses) and all(each["ready"] for each in statuses)
    name = pod["metadata"]["name"]
    return _row(f"pod {name}", detail if well or waiting else f"{detail}, not ready",
                "" if well else f"kubectl -n kube-system describe pod {name}")  # fmt: skip
