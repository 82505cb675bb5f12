"""The section `dns` of the agent's configuration and of a lab's file: what a node does for its pods' DNS questions.

Called by agent_config and lab_config.
"""

import re
from typing import Any

import msgspec

from clew.app.section import Section
from clew.base.errors import UserError

FAST_PATHS = ("none", "ebpf")
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?")


class DnsConfiguration(Section):
    """`fastPath: ebpf`: names of services are answered at the link of the pod that asks.

    `service` (NAMESPACE/NAME) is what pods ask, `corefile` the ConfigMap that says how its servers answer.
    """

    fast_path: str = "none"
    service: str = "kube-system/kube-dns"
    corefile: str = "kube-system/coredns"


def parse(value: Any, where: str = "dns") -> DnsConfiguration:
    """A checked section from a decoded mapping; UserError names the field under `where`."""
    try:
        found = msgspec.convert(value, DnsConfiguration)
    except msgspec.ValidationError as wrong:
        raise UserError(f"{where}: {wrong}", "fields: fastPath (none, ebpf) service corefile") from None
    check(found, where)
    return found


def check(found: DnsConfiguration, where: str = "dns") -> None:
    """UserError names the first field that does not hold."""
    if found.fast_path not in FAST_PATHS:
        raise UserError(f"{where}.fastPath: {found.fast_path!r} is not known", f"use {' or '.join(FAST_PATHS)}")
    for field, text in (("service", found.service), ("corefile", found.corefile)):
        if not _OBJECT.fullmatch(text):
            raise UserError(f"{where}.{field}: {text!r} is no NAMESPACE/NAME", "e.g. kube-system/kube-dns")


def object_key(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    return namespace, name
