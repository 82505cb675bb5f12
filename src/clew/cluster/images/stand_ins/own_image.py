"""`clew`: the program that is running, seen through read-only binds; its entry point is the command `clew`.

The whole of the machine's /usr is shown, because the agent uses its shared libraries and its network programs. The
interpreter, the environment and the import roots are shown at their own paths, so that scripts and links in them hold.
"""

import os
import shlex
from pathlib import Path

from clew.cluster.images.image import ImageError, ProcessConfig
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.stand_ins.recipe import Recipe
from clew.cluster.images.tree import PATH, Tree, libraries, skeleton

_TOO_WIDE = {"/", "/etc", "/home", "/opt", "/root", "/srv", "/var", "/run"}
_LAUNCHER = """#!/bin/sh
PYTHONPATH={roots}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONDONTWRITEBYTECODE=1 exec {python} -c \
'import sys; sys.argv[0] = "clew"; from clew.cli.main import main; sys.exit(main())' "$@"
"""


def build(tree: Tree, own: OwnProgram) -> Recipe:
    skeleton(tree, whole_usr=True)
    libraries(tree)
    if Path("/etc/alternatives").is_dir():
        tree.bind("/etc/alternatives")  # many of /usr/bin's names lead through it
    folders = [own.prefix, own.base_prefix, *own.import_roots]
    for folder in sorted({os.path.realpath(folder) for folder in folders}):
        if folder in _TOO_WIDE:
            raise ImageError(
                "ErrImagePull",
                f"the image clew would show all of {folder} to its pods; install Clew into a virtual environment",
            )
        tree.bind(folder)
    for name in (own.executable, *folders):
        _keep_links(tree, name)
    roots = shlex.quote(":".join(own.import_roots))
    tree.file("opt/clew/bin/clew", _LAUNCHER.format(roots=roots, python=shlex.quote(own.executable)), 0o755)
    search = PATH.replace("=", f"=/opt/clew/bin:{os.path.realpath(own.prefix)}/bin:", 1)
    process = ProcessConfig(entrypoint=("/opt/clew/bin/clew",), env=(search,))
    return Recipe(process=process, made_of=f"the running Clew {own.version}")


def _keep_links(tree: Tree, name: str) -> None:
    """Recreate in the tree every link on the way to `name` that no bind shows."""
    path, rest = Path("/"), list(Path(name).parts[1:])
    for _ in range(1000):  # far more steps than the kernel would take
        if not rest:
            return
        part = rest.pop(0)
        path = path.parent if part == ".." else path / part
        if not path.is_symlink():
            continue
        inside = str(path).lstrip("/")
        target = path.readlink()
        if not any(path.is_relative_to(bind) for bind in tree.binds) and not tree.has(inside):
            tree.link(inside, str(target))
        rest = [*target.parts[1 if target.is_absolute() else 0 :], *rest]
        path = Path("/") if target.is_absolute() else path.parent
