r"""Bodies in `application/vnd.kubernetes.protobuf`, as kubectl's typed commands post them, to plain JSON objects.

The envelope is `k8s\0` and a runtime.Unknown. Decoding only: the server answers in JSON, which every client accepts.
"""

from clew.api.protobuf.envelope import decode

__all__ = ["decode"]
