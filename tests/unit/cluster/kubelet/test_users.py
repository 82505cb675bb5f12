from pathlib import Path
from typing import Any

import pytest

from clew.cluster.images import Image
from clew.cluster.kubelet.env import ConfigError
from clew.cluster.kubelet.users import Accounts, user_of
from clew.cluster.runtime.oci import User

from .conftest import pod

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/:/bin/sh\n101x:x:7:7::/:\nbroken\n"
GROUP = "root:x:0:\nweb:x:102:\nextra:x:200:web,other\nmore:x:201:web\n"


@pytest.mark.parametrize(
    ("image", "shared", "own", "user"),
    [
        ("", {}, {}, User(0, 0, (0,))), ("web", {}, {}, User(101, 102, (102, 200, 201))),
        ("101", {}, {}, User(101, 102, (102, 200, 201))), ("4711", {}, {}, User(4711, 0, (0,))),
        ("web:extra", {}, {}, User(101, 200, (200, 201))), ("web:9", {}, {}, User(101, 9, (9, 200, 201))),
        ("web", {"runAsUser": 5}, {}, User(5, 0, (0,))), ("web", {"runAsUser": 5}, {"runAsUser": 0}, User(0, 0, (0,))),
        ("", {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000}, {}, User(1000, 3000, (3000, 2000))),
        ("", {"supplementalGroups": [7, 8, 7]}, {"runAsGroup": 9}, User(0, 9, (9, 7, 8))),
        ("web", {"supplementalGroupsPolicy": "Strict"}, {}, User(101, 102, (102,))),
        ("web", {"runAsNonRoot": True, "runAsUser": 3}, {}, User(3, 0, (0,))),
    ],
)  # fmt: skip
def test_users_and_groups(image: str, shared: dict[str, Any], own: dict[str, Any], user: User) -> None:
    container = {"name": "a", "securityContext": own}
    made = user_of(pod(securityContext=shared), container, Image("i", "", (), user=image), Accounts(PASSWD, GROUP))
    assert made == user


@pytest.mark.parametrize(
    ("image", "context", "words"),
    [
        ("nobody-here", {}, "unable to find user nobody-here: no matching entries in passwd file"),
        ("web:none", {}, "unable to find group none"),
        ("web", {"runAsNonRoot": True}, r"image has non-numeric user \(web\), cannot verify user is non-root"),
        ("", {"runAsNonRoot": True}, "container has runAsNonRoot and image will run as root"),
        ("5", {"runAsNonRoot": True, "runAsUser": 0}, "container's runAsUser breaks non-root policy"),
    ],
)
def test_refusals(image: str, context: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        user_of(pod(securityContext=context), {"name": "a"}, Image("i", "", (), user=image), Accounts(PASSWD, GROUP))


def test_an_images_links_do_not_lead_to_the_machines_accounts(tmp_path: Path) -> None:
    upper, lower, outside = tmp_path / "upper", tmp_path / "lower", tmp_path / "outside"
    for folder in (upper / "etc", lower / "etc", outside):
        folder.mkdir(parents=True)
    (outside / "passwd").write_text("evil:x:666:666::/:\n")
    (upper / "etc/passwd").symlink_to(outside / "passwd")
    (lower / "etc/passwd").write_text(PASSWD)
    found = Accounts.of([str(upper), str(lower)])
    assert found.user("evil") is None
    assert found.user("web") == (101, 102, "web")
