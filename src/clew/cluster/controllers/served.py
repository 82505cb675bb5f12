"""What the API server serves, asked of its discovery: for controllers that deal with every kind, CRs included."""

from typing import Any

from clew.api.kinds import Kind
from clew.watch.client import Client


async def served_kinds(client: Client) -> tuple[Kind, ...]:
    """Every resource in its group's preferred version, without subresources. Raises ApiError."""
    found = _kinds("", "v1", await client.get_path("/api/v1"))
    groups = await client.get_path("/apis")
    for group in groups.get("groups") or ():
        version = (group.get("preferredVersion") or group["versions"][0])["version"]
        answer = await client.get_path(f"/apis/{group['name']}/{version}")
        found.extend(_kinds(group["name"], version, answer))
    return tuple(found)


def _kinds(group: str, version: str, answer: Any) -> list[Kind]:
    return [
        Kind(
            each.get("group") or group,
            each.get("version") or version,
            each["kind"],
            each["name"],
            bool(each["namespaced"]),
            verbs=tuple(sorted(each.get("verbs") or ())),
        )
        for each in answer.get("resources") or ()
        if "/" not in each["name"]
    ]
