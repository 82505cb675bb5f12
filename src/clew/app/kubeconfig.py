"""The user's kubeconfig: a context `clew-NAME` put in and made current, and taken out again; the rest stays."""

import base64
import os
import pwd
from pathlib import Path
from typing import Any

import yaml

from clew.base.errors import UserError
from clew.kernel import files

Config = dict[str, Any]


def user_file() -> Path:
    """$KUBECONFIG's first file, else ~/.kube/config; under sudo that of the user who called it."""
    given = os.environ.get("KUBECONFIG", "").split(":")[0]
    if given:
        return Path(given)
    sudo = os.environ.get("SUDO_USER")
    home = Path(pwd.getpwnam(sudo).pw_dir) if sudo else Path.home()
    return home / ".kube" / "config"


def _read(path: Path) -> Config:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {"apiVersion": "v1", "kind": "Config"}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(
            f"cannot read the kubeconfig {path}: {error}", "mend it, or set KUBECONFIG to another"
        ) from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is no kubeconfig", "mend it, or set KUBECONFIG to another")
    return found


def _write(path: Path, config: Config) -> None:
    sudo = os.environ.get("SUDO_USER")
    owner = None
    if sudo:
        entry = pwd.getpwnam(sudo)
        owner = files.Owner(entry.pw_uid, entry.pw_gid)
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    if made and owner:
        os.chown(path.parent, owner.uid, owner.gid)
    files.replace(path, yaml.safe_dump(config, sort_keys=False).encode(), 0o600, owner)


def entry(name: str, server: str, ca: bytes, certificate: bytes, key: bytes) -> Config:
    """A kubeconfig of one context."""
    title = f"clew-{name}"
    texts = [base64.b64encode(each).decode() for each in (ca, certificate, key)]
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": title,
        "clusters": [{"name": title, "cluster": {"server": server, "certificate-authority-data": texts[0]}}],
        "users": [{"name": title, "user": {"client-certificate-data": texts[1], "client-key-data": texts[2]}}],
        "contexts": [{"name": title, "context": {"cluster": title, "user": title}}],
    }  # fmt: skip


def merged(config: Config, new: Config) -> Config:
    """`config` with the new entries and the new current context."""
    made = dict(config)
    for field in ("clusters", "users", "contexts"):
        names = {each["name"] for each in new[field]}
        made[field] = [each for each in config.get(field) or [] if each.get("name") not in names] + new[field]
    made["current-context"] = new["current-context"]
    return made


def without(config: Config, name: str) -> Config:
    """`config` without the lab's entries; no current context where it was the lab's."""
    title = f"clew-{name}"
    made = dict(config)
    for field in ("clusters", "users", "contexts"):
        if field in made:
            made[field] = [each for each in config.get(field) or [] if each.get("name") != title]
    if made.get("current-context") == title:
        made["current-context"] = ""
    return made


def merge_into(path: Path, new: Config) -> None:
    _write(path, merged(_read(path), new))


def remove_from(path: Path, name: str) -> None:
    """Takes out the lab's entries; a file that held nothing else goes."""
    if not path.exists():
        return
    before = _read(path)
    after = without(before, name)
    if after == before:
        return
    if not any(after.get(field) for field in ("clusters", "users", "contexts")):
        path.unlink()
    else:
        _write(path, after)
