"""What a write costs the database does not grow with what is stored.

A deletion once looked for its tombstone among all of the log: 8 ms of CPU at 10,000 services and more with each one.
"""

from pathlib import Path

import pytest

from clew.cluster.storage.database import Database, Row


def steps(database: Database, row: Row) -> int:
    """Instructions of SQLite's machine for one write."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    database._db.set_progress_handler(count, 1)
    try:
        database.append([row])
    finally:
        database._db.set_progress_handler(None, 1)
    return counted


@pytest.mark.parametrize("deleted", [False, True], ids=["replace", "delete"])
def test_a_write_costs_the_same_at_any_size(tmp_path: Path, *, deleted: bool) -> None:
    costs = []
    for size in (10, 2000):
        database = Database(tmp_path / f"{size}.db")
        database.append([Row(2 + number, "services", f"default/{number}", 0, False, b"{}") for number in range(size)])
        costs.append(steps(database, Row(size + 2, "services", "default/1", 3, deleted, b"{}")))
        database.close()
    assert costs[1] < 1.5 * costs[0]
