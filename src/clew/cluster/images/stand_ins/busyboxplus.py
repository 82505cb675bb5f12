"""`radial/busyboxplus:curl`: a shell with curl, and an nslookup that resolves as that image's does; `curlimages/curl`.

The shell is the machine's bash under the name sh: Debian's busybox prefers its own applets to what is on the PATH, so
that in its shell `nslookup` would never be ours.
"""

import importlib.resources

from clew.cluster.images.image import ProcessConfig
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.stand_ins.recipe import Recipe
from clew.cluster.images.tree import PATH, Tree, libraries, program, python, shells, skeleton

_PROGRAMS = importlib.resources.files("clew.cluster.images") / "programs"


# What is no program, an option or a URL, is for curl.
_CURL_ENTRYPOINT = """#!/bin/sh
if [ "${1#-}" != "$1" ] || ! command -v "$1" >/dev/null 2>&1; then set -- curl "$@"; fi
exec "$@"
"""
_MADE_OF = "this machine's static busybox and curl"


def build(tree: Tree, own: OwnProgram) -> Recipe:
    _fill(tree, own)
    process = ProcessConfig(cmd=("/bin/sh",), env=(PATH, r"PS1=[ \u@\h:\w ]$ "))
    return Recipe(process=process, made_of=_MADE_OF)


def build_curl(tree: Tree, own: OwnProgram) -> Recipe:
    """The same with curl as what it runs."""
    _fill(tree, own)
    tree.file("entrypoint.sh", _CURL_ENTRYPOINT, 0o755)
    process = ProcessConfig(entrypoint=("/entrypoint.sh",), cmd=("curl",), env=(PATH,))
    return Recipe(process=process, made_of=_MADE_OF)


def _fill(tree: Tree, own: OwnProgram) -> None:
    skeleton(tree)
    libraries(tree)
    python(tree, own)
    program(tree, "curl")
    program(tree, "bash")
    tree.link("usr/bin/sh", "bash")
    tree.file("usr/bin/nslookup", "#!/opt/python -IS\n" + (_PROGRAMS / "nslookup.py").read_text(), 0o755)
    shells(tree)  # last: what is above goes before the applets
