"""`agnhost`: the network test server, as a Python program with the original's subcommands, beside a shell and curl."""

import importlib.resources
import importlib.util
import py_compile

from clew.cluster.images.image import ProcessConfig
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.stand_ins.recipe import Recipe
from clew.cluster.images.tree import PATH, Tree, libraries, program, python, shells, skeleton

_PROGRAM = importlib.resources.files("clew.cluster.images") / "programs" / "agnhost"
_LAUNCHER = """#!/opt/python -IS
import sys
sys.path.insert(0, "/opt")
from agnhost.main import main
sys.exit(main(sys.argv[1:]))
"""


def build(tree: Tree, own: OwnProgram) -> Recipe:
    skeleton(tree)
    libraries(tree)
    python(tree, own)
    for name in ("bash", "curl", "dig", "ip", "iperf", "nc", "ss"):  # what the original has, where this machine has it
        program(tree, name, required=False)
    shells(tree)
    tree.file("agnhost", _LAUNCHER, 0o755)
    tree.link("agnhost-2", "agnhost")
    tree.folder("uploads")
    for name in ("localhost.crt", "localhost.key"):  # for servers of tests, as known to everybody as the original's
        tree.file(name, (_PROGRAM / name).read_bytes())
    for module in sorted(_PROGRAM.iterdir(), key=lambda entry: entry.name):
        if module.name.endswith(".py"):
            _module(tree, module.name, module.read_bytes())
    process = ProcessConfig(
        entrypoint=("/agnhost",),
        cmd=("pause",),
        env=(PATH,),
        exposed_ports=("80/tcp", "8080/tcp", "8081/tcp", "9376/tcp"),
    )
    return Recipe(process=process, made_of="Clew's own program with the networking subcommands of agnhost")


def _module(tree: Tree, name: str, source: bytes) -> None:
    """The module and its compiled form, without which each start would compile it again (20 ms for all)."""
    path = f"opt/agnhost/{name}"
    tree.file(path, source)
    draft = tree.root / f"opt/agnhost/.{name}c"
    py_compile.compile(
        str(tree.root / path),
        cfile=str(draft),
        dfile=f"/{path}",
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    data = draft.read_bytes()
    draft.unlink()
    tag = importlib.util.cache_from_source(name).rpartition("/")[2]
    tree.file(f"opt/agnhost/__pycache__/{tag}", data)
