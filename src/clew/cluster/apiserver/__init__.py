"""The lab's Kubernetes API server: HTTP, identity, permission, and the registry of objects on top of storage.

What an object must look like is `clew.cluster.admission`'s matter, how it prints `clew.cluster.tables`'s.
"""

from clew.cluster.apiserver.options import ApiServerOptions, ServerPki
from clew.cluster.apiserver.server import ApiServer

__all__ = ["ApiServer", "ApiServerOptions", "ServerPki"]
