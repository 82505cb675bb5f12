"""The manifests on a real cluster: printed, or applied by server-side apply."""

from pathlib import Path

import yaml

from clew.api.objects import key_of
from clew.app.manifest_objects import ClusterFacts, kind_of, objects
from clew.base.addresses import network, overlap
from clew.base.errors import UserError
from clew.base.value import Value
from clew.watch.client import APPLY, Client


class InstallOptions(Value):
    kubeconfig: str
    pod_cidr: str
    service_cidr: str
    api_server: str


def _facts(options: InstallOptions) -> ClusterFacts:
    host, _, port = options.api_server.rpartition(":")
    if options.api_server and (not host or not port.isdecimal()):
        raise UserError(f"--api-server: {options.api_server!r} is no HOST:PORT", "e.g. 192.0.2.1:6443")
    pods, services = _ranges("--pod-cidr", options.pod_cidr), _ranges("--service-cidr", options.service_cidr)
    for one in pods:
        for other in services:
            if overlap(network(one), network(other)):
                raise UserError(f"--service-cidr: {other} overlaps with --pod-cidr, {one}", "say what the cluster has")
    return ClusterFacts(pods, services, host, int(port or 6443))


def _ranges(flag: str, text: str) -> tuple[str, ...]:
    """One range a family; UserError names the flag."""
    try:
        found = [network(each.strip()) for each in text.split(",")]
    except ValueError as wrong:
        raise UserError(
            f"{flag}: {wrong}", "write it as 10.244.0.0/16, or two, one a family: 10.0.0.0/8,fd00::/48"
        ) from None
    if len({each.version for each in found}) < len(found):
        raise UserError(f"{flag}: {text} has two ranges of one family", "give one a family")
    return tuple(str(each) for each in found)


def text(options: InstallOptions) -> str:
    return yaml.safe_dump_all(objects(_facts(options)), sort_keys=False)


async def apply(options: InstallOptions) -> list[str]:
    """What was applied, a line each."""
    path = options.kubeconfig or str(Path.home() / ".kube" / "config")
    lines: list[str] = []
    async with Client.from_kubeconfig(path) as client:
        for obj in objects(_facts(options)):
            namespace, name = key_of(obj)
            kind = kind_of(obj)
            await client.patch(kind, name, obj, namespace, content_type=APPLY, field_manager="clew", force=True)
            lines.append(f"{kind.plural}/{name} applied")
    return lines
