"""The files: which one is changed, whose it is, what is recorded, and that nothing is lost on the way."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from clew.app import kubeconfig, kubeconfig_files
from clew.base.errors import UserError

OTHER = """\
apiVersion: v1
kind: Config
current-context: work
clusters:
- name: work
  cluster:
    server: https://work
users: []
contexts:
- name: work
  context:
    cluster: work
    user: work
"""


class Labs:
    """Labs that come and go, each with a state folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def state(self, name: str) -> Path:
        folder = self.root / "labs" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def up(self, name: str) -> None:
        kubeconfig_files.merge(self.state(name), kubeconfig.entry(name, "https://127.0.0.1:1", b"a", b"b", b"c"))

    def down(self, name: str) -> None:
        kubeconfig_files.remove(self.state(name), f"clew-{name}")
        (self.state(name) / kubeconfig_files.RECORD).unlink(missing_ok=True)


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Labs:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return Labs(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_a_file_made_for_the_lab_goes_with_it_and_so_does_its_folder(labs: Labs, tmp_path: Path) -> None:
    labs.up("a")
    config = tmp_path / "home/.kube/config"
    assert (mode(config), mode(config.parent)) == (0o600, 0o700)
    assert read(config)["current-context"] == "clew-a"
    labs.down("a")
    assert list((tmp_path / "home").iterdir()) == []


def test_the_former_context_comes_back_and_the_bytes_too(labs: Labs, tmp_path: Path) -> None:
    config = tmp_path / "home/.kube/config"
    config.parent.mkdir()
    config.write_text(OTHER)
    config.chmod(0o644)
    labs.up("a")
    labs.up("a")
    assert (read(config)["current-context"], mode(config)) == ("clew-a", 0o600)
    labs.down("a")
    assert (config.read_text(), mode(config)) == (OTHER, 0o644)


def test_a_context_that_the_user_chose_meanwhile_stays(labs: Labs, tmp_path: Path) -> None:
    config = tmp_path / "home/.kube/config"
    config.parent.mkdir()
    config.write_text(OTHER)
    labs.up("a")
    config.write_text(kubeconfig.use(config.read_text(), "mine"))
    labs.down("a")
    assert read(config)["current-context"] == "mine"


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_two_labs_leave_the_first_document_in_either_order(labs: Labs, tmp_path: Path, order: str) -> None:
    config = tmp_path / "home/.kube/config"
    config.parent.mkdir()
    config.write_text(OTHER.replace("users: []\n", ""))
    labs.up("a")
    labs.up("b")
    labs.down(order[0])
    assert read(config)["current-context"] == f"clew-{order[1]}"
    labs.down(order[1])
    assert read(config) == yaml.safe_load(OTHER.replace("users: []\n", ""))


def test_of_several_files_the_first_that_exists_is_changed(
    labs: Labs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kubectl does: the context goes to the file that names one."""
    absent, second, third = (tmp_path / name for name in ("absent", "second", "third"))
    second.write_text("kind: Config\n")
    third.write_text(OTHER)
    monkeypatch.setenv("KUBECONFIG", f"{absent}::{second}:{third}")
    labs.up("a")
    assert not absent.exists()
    assert kubeconfig.names(second.read_text(), "contexts") == ["clew-a"]
    assert read(third)["current-context"] == "clew-a"
    monkeypatch.setenv("KUBECONFIG", str(absent))
    labs.down("a")
    assert (read(second), third.read_text()) == ({"kind": "Config"}, OTHER)


def test_of_several_files_that_do_not_exist_the_last_is_made(
    labs: Labs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'one'}:{tmp_path / 'deep/er/two'}")
    labs.up("a")
    assert not (tmp_path / "one").exists()
    assert read(tmp_path / "deep/er/two")["current-context"] == "clew-a"


def test_a_symlink_is_followed(labs: Labs, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text(OTHER)
    link = tmp_path / "home/.kube/config"
    link.parent.mkdir()
    link.symlink_to(real)
    labs.up("a")
    assert link.is_symlink()
    labs.down("a")
    assert (link.is_symlink(), real.read_text()) == (True, OTHER)


def test_a_broken_file_is_refused_and_left(labs: Labs, tmp_path: Path) -> None:
    config = tmp_path / "home/.kube/config"
    config.parent.mkdir()
    config.write_text("clusters: [")
    for step in (kubeconfig_files.check, lambda: labs.up("a"), lambda: labs.down("a")):
        with pytest.raises(UserError, match=r"is no kubeconfig: line 1") as error:
            step()
        assert "\n" not in str(error.value)
    assert config.read_text() == "clusters: ["
    assert sorted(each.name for each in config.parent.iterdir()) == ["config"]


def test_a_lock_of_kubectl_is_waited_for_and_named(labs: Labs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig_files, "_PATIENCE", 0.1)
    lock = tmp_path / "home/.kube/config.lock"
    lock.parent.mkdir()
    lock.touch()
    with pytest.raises(UserError, match=r"remove .*config\.lock"):
        labs.up("a")
    lock.unlink()
    labs.up("a")
    assert not lock.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away; the lab lane runs as root")
def test_under_sudo_the_files_belong_to_the_user(labs: Labs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd  # noqa: PLC0415 - replaced below

    home = tmp_path / "nobody"
    home.mkdir()
    entry = pwd.getpwnam("nobody")
    made = pwd.struct_passwd([*entry[:5], str(home), *entry[6:]])
    monkeypatch.setattr(pwd, "getpwnam", lambda _: made)
    monkeypatch.setenv("SUDO_USER", "nobody")
    labs.up("a")
    for path in (home / ".kube", home / ".kube/config"):
        assert path.stat().st_uid == entry.pw_uid
    labs.down("a")
    assert list(home.iterdir()) == []
