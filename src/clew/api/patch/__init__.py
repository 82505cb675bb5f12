"""The three patch languages: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386), strategic merge patch.

All return a new object and leave their arguments alone; PatchError says what is wrong and which status it deserves.
"""

from clew.api.patch.errors import PatchError
from clew.api.patch.json import json_patch
from clew.api.patch.merge import merge_patch
from clew.api.patch.strategic import strategic_merge_patch

__all__ = ["PatchError", "json_patch", "merge_patch", "strategic_merge_patch"]
