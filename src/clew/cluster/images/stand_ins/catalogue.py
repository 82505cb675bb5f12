"""Which references the catalogue answers, and with what. A table; adding a stand-in adds a module and a row here."""

import re
from collections.abc import Callable, Mapping

from clew.base.value import Value
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.reference import Reference
from clew.cluster.images.stand_ins import agnhost, busybox, busyboxplus, nginx, own_image, pause
from clew.cluster.images.stand_ins.recipe import Recipe
from clew.cluster.images.tree import Tree

Build = Callable[[Tree, OwnProgram], Recipe]


class StandIn(Value):
    """A name for files and lists, the repositories it answers for, and its builder."""

    name: str
    repositories: tuple[str, ...]
    build: Build
    is_real: bool = False  # the very thing that was asked for: no sentence for the pod


_HUB = "docker.io/library"
_MIRROR = "public.ecr.aws/docker/library"

CATALOGUE: tuple[StandIn, ...] = (
    StandIn("nginx", (f"{_HUB}/nginx", f"{_MIRROR}/nginx"), nginx.build),
    StandIn(
        "busybox", (f"{_HUB}/busybox", f"{_MIRROR}/busybox", "registry.k8s.io/e2e-test-images/busybox"), busybox.build
    ),
    StandIn("busyboxplus", ("docker.io/radial/busyboxplus",), busyboxplus.build),
    StandIn("curl", ("docker.io/curlimages/curl", "quay.io/curl/curl"), busyboxplus.build_curl),
    StandIn(
        "agnhost",
        (
            "registry.k8s.io/e2e-test-images/agnhost",
            "k8s.gcr.io/e2e-test-images/agnhost",
            "gcr.io/kubernetes-e2e-test-images/agnhost",
            f"{_HUB}/agnhost",
        ),
        agnhost.build,
    ),
    StandIn("clew", (f"{_HUB}/clew",), own_image.build, is_real=True),
    StandIn("pause", ("registry.k8s.io/pause", "k8s.gcr.io/pause", f"{_HUB}/pause"), pause.build),
)

_BY_REPOSITORY: Mapping[str, StandIn] = {name: entry for entry in CATALOGUE for name in entry.repositories}


# Up to 1.28 busybox's nslookup asked through the C library, for which lessons on cluster DNS still name that version.
_OLD_BUSYBOX = re.compile(r"1\.([01]?\d|2[0-8])(\D.*)?")


def stand_in_for(reference: Reference) -> StandIn | None:
    """The stand-in for any tag of a known repository; none for a digest, which names a content no stand-in has."""
    found = None if reference.digest else _BY_REPOSITORY.get(reference.repository)
    if found is not None and found.name == "busybox" and _OLD_BUSYBOX.fullmatch(reference.tag):
        return _BY_REPOSITORY["docker.io/radial/busyboxplus"]
    return found
