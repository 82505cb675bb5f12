"""The table that this backend owns, in nft's words. Its name is the mark: nothing in another table is touched."""

from typing import Final

from clew.base.value import Value

FAMILY: Final = "inet"
TABLE = "clew-pods"
CHAIN = "postrouting"


class Rule(Value):
    """`ip saddr SOURCES ip daddr != INSIDE masquerade fully-random`, for one family of addresses."""

    version: int
    sources: tuple[str, ...]
    inside: tuple[str, ...]  # no two overlap or touch

    @property
    def words(self) -> str:
        ip = "ip6" if self.version == 6 else "ip"
        sources, inside = ", ".join(self.sources), ", ".join(self.inside)
        return f"{ip} saddr {{ {sources} }} {ip} daddr != {{ {inside} }} masquerade fully-random"


class NatTable(Value):
    rules: tuple[Rule, ...]
    origin: str
