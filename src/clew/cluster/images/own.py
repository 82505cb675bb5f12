"""The program that is running, as an image must carry it: its interpreter, its environment, its import roots.

Nothing is copied: the image `clew` and the Python programs of other stand-ins run from read-only views of these
folders, so what a pod runs is what the daemon runs, from a wheel, a virtual environment or a checkout alike.
"""

import sys
from pathlib import Path

import clew
from clew.base.value import Value


class OwnProgram(Value):
    """Where Clew and its Python live on this machine. All paths are absolute."""

    version: str
    executable: str  # the interpreter that imports clew, e.g. a virtual environment's bin/python
    prefix: str  # sys.prefix: the environment's root
    base_prefix: str  # sys.base_prefix: the Python installation
    interpreter: str  # the installation's own interpreter, no links
    import_roots: tuple[str, ...]  # where clew and its dependencies are imported from

    @staticmethod
    def running() -> "OwnProgram":
        """The program of this very process."""
        base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
        found = base if base.exists() else Path(sys.executable)
        package_root = str(Path(clew.__file__).resolve().parent.parent)
        sites = [entry for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
        return OwnProgram(
            version=clew.__version__,
            executable=sys.executable,
            prefix=sys.prefix,
            base_prefix=sys.base_prefix,
            interpreter=str(found.resolve()),
            import_roots=tuple(dict.fromkeys([package_root, *sites])),
        )
