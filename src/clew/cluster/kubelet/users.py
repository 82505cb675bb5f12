"""Which user a container runs as: the pod's word, else the image's, looked up in the image's own passwd and group.

The files are read from the image's layers, never through a link in them, which could lead to the machine's own.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from clew.api.objects import Object
from clew.cluster.images import Image
from clew.cluster.kubelet.env import ConfigError
from clew.cluster.runtime.oci import User


class Accounts:
    """The passwd and group files of an image, as far as they are there."""

    def __init__(self, passwd: str = "", group: str = "") -> None:
        self._users = [line.split(":") for line in passwd.splitlines() if line.count(":") >= 3]
        self._groups = [line.split(":") for line in group.splitlines() if line.count(":") >= 2]

    @classmethod
    def of(cls, lowers: Sequence[str]) -> "Accounts":
        return cls(_read(lowers, "passwd"), _read(lowers, "group"))

    def user(self, name: str) -> tuple[int, int, str] | None:
        """(uid, gid, name) by name or number; an unknown number is itself with group 0."""
        for entry in self._users:
            if (name == entry[0] or name == entry[2]) and entry[2].isdigit() and entry[3].isdigit():
                return int(entry[2]), int(entry[3]), entry[0]
        return (int(name), 0, "") if name.isdigit() else None

    def group(self, name: str) -> int | None:
        for entry in self._groups:
            if name == entry[0] and entry[2].isdigit():
                return int(entry[2])
        return int(name) if name.isdigit() else None

    def memberships(self, name: str) -> list[int]:
        """The groups that list the user as a member."""
        return [
            int(entry[2])
            for entry in self._groups
            if name and len(entry) > 3 and name in entry[3].split(",") and entry[2].isdigit()
        ]


def _read(lowers: Sequence[str], name: str) -> str:
    for lower in lowers:
        try:
            if not stat.S_ISDIR(Path(lower, "etc").lstat().st_mode):
                continue
            fd = os.open(Path(lower, "etc", name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        with os.fdopen(fd, "rb") as file:
            return file.read(1 << 20).decode(errors="replace")
    return ""


def user_of(pod: Object, container: Object, image: Image, accounts: Accounts) -> User:
    """The user, group and further groups of a container's process. ConfigError as the kubelet words it."""
    shared = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    wanted = own.get("runAsUser", shared.get("runAsUser"))
    name, _, group_name = image.user.partition(":")
    if wanted is not None:
        name, group_name = str(wanted), ""
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")):
        _refuse_root(pod, container, name, by_pod=wanted is not None)
    found = accounts.user(name) if name else (0, 0, "root")
    if found is None:
        raise ConfigError(f"unable to find user {name}: no matching entries in passwd file")
    uid, gid, login = found
    if group_name:
        group = accounts.group(group_name)
        if group is None:
            raise ConfigError(f"unable to find group {group_name}: no matching entries in group file")
        gid = group
    chosen = own.get("runAsGroup", shared.get("runAsGroup"))
    gid = gid if chosen is None else int(chosen)
    groups: list[int] = [*(shared.get("supplementalGroups") or ())]
    if shared.get("fsGroup") is not None:
        groups.append(shared["fsGroup"])
    if shared.get("supplementalGroupsPolicy", "Merge") == "Merge":
        groups += accounts.memberships(login)
    return User(uid=uid, gid=gid, groups=tuple(dict.fromkeys([gid, *groups])))


def _refuse_root(pod: Object, container: Object, name: str, *, by_pod: bool) -> None:
    meta = pod["metadata"]
    about = f'(pod: "{meta["name"]}_{meta["namespace"]}({meta["uid"]})", container: {container["name"]})'
    if name and not name.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), "
            f"cannot verify user is non-root {about}"
        )
    if not name or int(name) == 0:
        if by_pod:
            raise ConfigError(f"container's runAsUser breaks non-root policy {about}")
        raise ConfigError(f"container has runAsNonRoot and image will run as root {about}")
