"""The versions of the CNI specification that Clew speaks."""

from clew.cni.errors import CniError, Code

NEWEST = "1.1.0"
SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", NEWEST)


def checked(version: str) -> str:
    """`version`, if Clew speaks it; CniError (1) else."""
    if version not in SUPPORTED:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"CNI version {version!r} is not supported",
            f"the configuration's cniVersion must be one of {', '.join(SUPPORTED)}",
        )
    return version
