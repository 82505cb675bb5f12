"""The language of iptables: rules as `iptables-save` prints them, their difference, and a packet's way through them.

Shared by the dataplanes whose rules are iptables rules (they may not import each other) and by kernel/iptables. Knows
no service, no kernel and no program: text in, values and text out.
"""

from clew.base.xtables.changes import Jump, Wanted, change, removal, with_jumps
from clew.base.xtables.rules import Chains, Option, Parsed, Ruleset, comes_from, comment, parse, read, whole
from clew.base.xtables.walk import Flight, Outcome, Scene, walk

__all__ = [
    "Chains",
    "Flight",
    "Jump",
    "Option",
    "Outcome",
    "Parsed",
    "Ruleset",
    "Scene",
    "Wanted",
    "change",
    "comes_from",
    "comment",
    "parse",
    "read",
    "removal",
    "walk",
    "whole",
    "with_jumps",
]
