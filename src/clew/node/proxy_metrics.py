"""kube-proxy's own metrics, fed by node/proxy. Names and meanings are those of Kubernetes 1.37.

Source: k8s.io/kubernetes pkg/proxy/metrics/metrics.go.
"""

from collections.abc import Callable, Iterable

from clew.base.metrics import Labels, Measure, Registry

PROGRAMMING = (
    *(0.25, 0.5), *map(float, range(1, 60)), *map(float, range(60, 120, 5)), *map(float, range(120, 301, 30)),
)  # fmt: skip
SYNC = tuple(0.001 * 2**step for step in range(15))
FAMILY = ("ip_family",)


class ProxyMetrics:
    """`measures`: what the mode itself counts, asked at each rendering."""

    def __init__(self, registry: Registry, measures: Callable[[], Iterable[Measure]] = tuple) -> None:
        self._registry, self._measures = registry, measures
        registry.before_render(self._refresh)
        prefix = "kubeproxy_sync_"
        histogram, gauge, counter = registry.histogram, registry.gauge, registry.counter
        self.duration = histogram(f"{prefix}proxy_rules_duration_seconds", "SyncProxyRules latency", FAMILY, SYNC)
        self.full = histogram(f"{prefix}full_proxy_rules_duration_seconds", "Latency of full syncs", FAMILY, SYNC)
        self.partial = histogram(f"{prefix}partial_proxy_rules_duration_seconds", "Latency of others", FAMILY, SYNC)
        self.last = gauge(f"{prefix}proxy_rules_last_timestamp_seconds", "When rules were last in sync", FAMILY)
        self.queued = gauge(
            f"{prefix}proxy_rules_last_queued_timestamp_seconds", "When a sync was last asked for", FAMILY
        )
        self.endpoints_total = counter(f"{prefix}proxy_rules_endpoint_changes_total", "Endpoint changes")
        self.services_total = counter(f"{prefix}proxy_rules_service_changes_total", "Service changes")
        self.no_local = gauge(
            f"{prefix}proxy_rules_no_local_endpoints_total",
            "Services with a Local traffic policy, with endpoints, and none here",
            ("ip_family", "traffic_policy"),
        )
        self.programming = registry.histogram(
            "kubeproxy_network_programming_duration_seconds",
            "Time from a change of a Service or Pod to its effect here",
            FAMILY,
            PROGRAMMING,
        )
        self.conntrack = histogram(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds", "Latency of the conntrack cleanup", FAMILY, SYNC
        )
        self.conntrack_deleted = counter(
            "kubeproxy_conntrack_reconciler_deleted_entries_total", "Stale conntrack entries deleted", FAMILY
        )

    def _refresh(self) -> None:
        """Of what several backends count under one name and no label of their own, the sum."""
        found: dict[tuple[str, Labels], float] = {}
        for each in self._measures():
            names, labels = tuple(name for name, _ in each.labels), tuple(value for _, value in each.labels)
            make = self._registry.counter if each.kind == "counter" else self._registry.gauge
            found[each.name, labels] = found.get((each.name, labels), 0) + each.value
            make(each.name, each.text, names).values[labels] = found[each.name, labels]
