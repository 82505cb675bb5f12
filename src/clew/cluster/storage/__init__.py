"""Where the lab's API objects live: durable in SQLite, current in memory, recent changes in a ring for watches.

It knows bytes, keys and revisions; what an object means is the API server's matter, and nobody else opens it.
"""

from clew.cluster.storage.collection import Collection, Compacted
from clew.cluster.storage.records import Event, Record
from clew.cluster.storage.storage import Storage

__all__ = ["Collection", "Compacted", "Event", "Record", "Storage"]
