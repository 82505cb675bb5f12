"""A part of one of Clew's own files, or of kube-proxy's: camel case outside, and what it does not know it refuses."""

import msgspec


class Section(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The base of every such struct; apart, since reading one file should not load the readers of the others."""
