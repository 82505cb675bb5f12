"""One mode of the service proxy made of two data planes: a main one, and tables behind it for what it cannot serve.

Data planes do not know each other, so whoever knows all modes (node/proxy_modes) joins them here. The main one is told
of every service, since it has to let pass what is not its own; the tables only of what `is_left` names. Tables are
written first: a packet that the main one lets pass finds them right.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from clew.base.errors import WorldError
from clew.base.metrics import Measure
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.node.proxy_backend import Backend, Changes, Open, ServiceKey

IsLeft = Callable[[Balancer], bool]


def joined(main: Open, tables: Open, is_left: IsLeft) -> Open:
    """`open` of a mode whose backends are a main one and tables each."""

    def open_backends(where: Path | None, settings: Sequence[Settings]) -> list[JointBackend]:
        pairs = zip(main(where, settings), tables(where, settings), strict=True)
        return [JointBackend(one, other, is_left) for one, other in pairs]

    return open_backends


class JointBackend:
    def __init__(self, main: Backend, tables: Backend, is_left: IsLeft) -> None:
        self._main, self._tables, self._is_left = main, tables, is_left
        self._left: set[ServiceKey] = set()  # services of which the tables know

    @property
    def settings(self) -> Settings:
        return self._main.settings

    @property
    def quick(self) -> bool:
        return self._main.quick and self._tables.quick

    def prepare(self) -> None:
        self._tables.prepare()
        self._main.prepare()

    def sync(self, changes: Changes) -> bool:
        """As `Backend.sync`. Where the tables are refused, the main one stays as it is and has the changes noted."""
        try:
            tables = self._tables.sync(self._of_tables(changes))
        except WorldError:
            self._main.expect(changes)
            raise
        return bool(self._main.sync(changes)) or bool(tables)

    def expect(self, changes: Changes) -> None:
        self._tables.expect(self._of_tables(changes))
        self._main.expect(changes)

    def settle(self, settings: Settings) -> None:
        self._tables.settle(settings)
        self._main.settle(settings)

    def verify(self) -> bool:
        tables = self._tables.verify()
        return self._main.verify() and tables

    def tidy(self) -> None:
        self._tables.tidy()
        self._main.tidy()

    def remove(self) -> None:
        self._main.remove()
        self._tables.remove()

    def close(self) -> None:
        self._main.close()
        self._tables.close()

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._main.serve())
            group.create_task(self._tables.serve())

    def measures(self) -> Iterable[Measure]:
        return [*self._main.measures(), *self._tables.measures()]

    def _of_tables(self, changes: Changes) -> Changes:
        """What the tables have to hear: services with something for them, and those that had."""
        left = {key: tuple(filter(self._is_left, balancers)) for key, balancers in changes.items()}
        told = {key: balancers for key, balancers in left.items() if balancers or key in self._left}
        self._left -= told.keys()
        self._left |= {key for key, balancers in told.items() if balancers}
        return told
