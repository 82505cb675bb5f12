"""A node's answer to "are you well": /healthz and /livez, in the words of kube-proxy's.

/healthz is for load balancers, which should stop sending to a node that is going; /livez is for the kubelet, which
should not restart an agent for that. Source: k8s.io/kubernetes pkg/proxy/healthcheck/proxy_health.go.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from clew.base.clock import Clock
from clew.base.metrics import Registry
from clew.base.value import Value
from clew.facts.node import Node
from clew.servers.pages import Page


class FamilyHealth(Value):
    """Of one family's rules: since when they are as wanted, and whether a change has not waited too long."""

    last_updated: datetime
    healthy: bool


Families = Callable[[], Mapping[str, FamilyHealth]]


class Health:
    """`node` is this agent's own, None where it is not (or no longer) there; `families` has keys IPv4 and IPv6."""

    def __init__(
        self, clock: Clock, node: Callable[[], Node | None], families: Families, registry: Registry | None = None
    ) -> None:
        registry = registry or Registry()
        self._answers = {
            balancers: registry.counter(f"kubeproxy_proxy_{page}_total", f"Answers of /{page}", ("code",))
            for balancers, page in ((True, "healthz"), (False, "livez"))
        }
        self._clock = clock
        self._node = node
        self._families = families

    def healthz(self) -> Page:
        node = self._node()
        return self._page(eligible=node is not None and not node.going, for_balancers=True)

    def livez(self) -> Page:
        node = self._node()
        return self._page(eligible=node is not None and not node.going, for_balancers=False)

    def _page(self, *, eligible: bool, for_balancers: bool) -> Page:
        families = self._families()
        now = self._clock.now()
        well = all(family.healthy for family in families.values())
        healthy = well and (eligible or not for_balancers)
        document = {
            "lastUpdated": _text(now if well else max((f.last_updated for f in families.values()), default=now)),
            "currentTime": _text(now),
            "nodeEligible": eligible,
            "healthy": healthy,
            "status": {
                name: {"lastUpdated": _text(family.last_updated), "healthy": family.healthy}
                for name, family in families.items()
            },
        }
        headers = (("X-Content-Type-Options", "nosniff"),)
        status = 200 if healthy else 503
        self._answers[for_balancers].add(str(status))
        return Page(msgspec.json.encode(document), status, "application/json", headers)


def _text(moment: datetime) -> str:
    """As Go prints a time in such a page."""
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} +0000 UTC"
