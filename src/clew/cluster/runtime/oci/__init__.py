"""Containers in the words of the OCI runtime specification (config.json, version 1.0.2): pure, from values to JSON."""

from clew.cluster.runtime.oci.rights import available_capabilities
from clew.cluster.runtime.oci.spec import ContainerSpec, Limits, Mount, Namespaces, Rights, User, config

__all__ = [
    "ContainerSpec",
    "Limits",
    "Mount",
    "Namespaces",
    "Rights",
    "User",
    "available_capabilities",
    "config",
]
