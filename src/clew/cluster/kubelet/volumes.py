"""A pod's volumes as folders on the node, and their mounts into containers.

Contents of ConfigMaps, Secrets and projections are swapped as a whole by a symbolic link (`..data`), as the kubelet
does, so that a reader sees one state or the other.
"""

import base64
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from clew.api.objects import Object
from clew.cluster.kubelet.env import ConfigError, field_value
from clew.cluster.oci.spec import Mount

Files = dict[str, bytes]


def config_map_files(obj: Object) -> Files:
    binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return {key: value.encode() for key, value in (obj.get("data") or {}).items()} | binary


def secret_files(obj: Object) -> Files:
    return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}


def chosen(files: Files, items: list[Object] | None, what: str, *, optional: bool) -> Files:
    """The keys that `items` names, under their paths; all where it names none."""
    if not items:
        return files
    made: Files = {}
    for item in items:
        if item["key"] in files:
            made[item["path"]] = files[item["key"]]
        elif not optional:
            raise ConfigError(f"{what} references non-existent config key: {item['key']}")
    return made


def downward_files(pod: Object, items: list[Object]) -> Files:
    return {
        item["path"]: field_value(pod, item["fieldRef"]["fieldPath"]).encode() for item in items if item.get("fieldRef")
    }


def write_files(folder: Path, files: Files, mode: int = 0o644) -> None:
    """Make the folder show exactly these files, at once."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "..data"
    current = data.resolve() if data.is_symlink() else None
    if current is not None and _same(current, files):
        return
    number = int(current.name.rpartition("_")[2]) + 1 if current is not None else 1
    fresh = folder / f"..state_{number}"
    shutil.rmtree(fresh, ignore_errors=True)
    for name, content in files.items():
        target = _inside(fresh, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
    fresh.mkdir(parents=True, exist_ok=True)
    link = folder / "..data_new"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.replace(data)
    wanted = {name.split("/")[0] for name in files}
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    for name in wanted:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    if current is not None:
        shutil.rmtree(current, ignore_errors=True)


def _inside(root: Path, name: str) -> Path:
    if name.startswith("/") or ".." in name.split("/"):
        raise ConfigError(f"a volume's path must stay inside it: {name}")
    return root / name


def _same(folder: Path, files: Files) -> bool:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return found == files


def mounts(container: Object, places: Mapping[str, tuple[str, bool]], seen_by_us: Mapping[str, Path]) -> list[Mount]:
    """The container's volumeMounts. `places`: volume to its path on the node and whether it is a file."""
    made: list[Mount] = []
    for mount in container.get("volumeMounts") or ():
        source, is_file = places[mount["name"]]
        sub = mount.get("subPath")
        if sub:
            ours = seen_by_us.get(mount["name"])
            if ours is not None:
                inside = _inside(ours, sub)
                if not inside.exists():
                    inside.mkdir(parents=True)
                is_file = inside.is_file()
            source = os.path.join(source, sub)  # noqa: PTH118 - a path of the node, not of this machine
        propagation = {"HostToContainer": "rslave", "Bidirectional": "rshared"}.get(
            mount.get("mountPropagation", ""), "rprivate"
        )
        options = ("rbind", propagation, "ro" if mount.get("readOnly") else "rw")
        made.append(Mount(source, mount["mountPath"], "bind", options, is_file))
    return made
