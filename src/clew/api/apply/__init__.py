"""Server-side apply and the ownership of fields (KEP-555): who set what, who may change it, what goes when dropped.

Pure: objects in, a new object out. The API server calls `server_side_apply` for an apply patch and `track_update` for
every other write.
"""

from clew.api.apply.conflict import ApplyConflict, ApplyError
from clew.api.apply.server import server_side_apply
from clew.api.apply.update import track_update

__all__ = ["ApplyConflict", "ApplyError", "server_side_apply", "track_update"]
