"""kubernetes: the names of the Kubernetes DNS specification 1.1.0; see README.md."""

from collections.abc import Collection, Iterable, Sequence

from clew.servers.dns import wire
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, chased
from clew.servers.dns.corefile import Directive
from clew.servers.dns.plugins.kubernetes.options import Options, Watching, read
from clew.servers.dns.plugins.kubernetes.zones import ClusterZone, Key, ReverseZone, Source
from clew.servers.dns.wire import Query, Response

__all__ = ["Kubernetes", "Options", "Source", "Watching", "setup"]


class Nothing:
    """The cluster before anything is known of it."""

    def has_namespace(self, name: str) -> bool:  # noqa: ARG002 - the protocol's
        return False

    def records(self, key: Key, domain: str) -> tuple[()]:  # noqa: ARG002 - the protocol's
        return ()

    def holders(self, ip: str) -> tuple[()]:  # noqa: ARG002 - the protocol's
        return ()

    def pod_namespaces(self, ip: str) -> tuple[()]:  # noqa: ARG002 - the protocol's
        return ()


class Kubernetes(Plugin):
    """Answers from a `source` that whoever holds the cluster's state gives; SERVFAIL until it says it is complete."""

    def __init__(self, options: Options, site: Site, context: Context) -> None:
        self.options = options
        self.site = site
        self.context = context
        self.synced = False
        self.source: Source = Nothing()
        self.cluster = [ClusterZone(zone, options.ttl, self.source, options.pods) for zone in options.domains]
        domain = options.domains[0] if options.domains else "cluster.local"
        self.reverse = [ReverseZone(zone, options.ttl, self.source, domain) for zone in options.reverse]
        self._zones: list[ClusterZone | ReverseZone] = [*self.cluster, *self.reverse]
        self._zones.sort(key=lambda zone: -len(zone.apex))
        self._falls = tuple(wire.name_to_wire(zone) for zone in options.fallthrough or ())

    def serve(self, source: Source, stands_at: Collection[Key], own_ips: Collection[str]) -> None:
        """Answer from this source from now on; `stands_at` are the services that lead to this server."""
        self.source = source
        for zone in self._zones:
            zone.source = source
        for cluster in self.cluster:
            cluster.stands_at, cluster.own_ips = stands_at, own_ips
            cluster.forget_all()
        self.context.stale(None)

    def changed(self, keys: Collection[Key], ips: Iterable[str], *, pods: bool = False) -> None:
        """These services changed, and with them these addresses' names; `pods`: some pod did."""
        tokens = {wire.reverse_name(ip) for ip in ips}
        for zone in self.cluster:
            for key in keys:
                zone.forget(key)
                tokens |= zone.tokens(key)
            if pods:
                tokens.add(zone.pods_token)
        self._touch()
        self.context.stale(tokens)

    def namespaces_changed(self) -> None:
        """Rare, and every answer below `svc` and `pod` may hang on it."""
        self._touch()
        self.context.stale(None)

    def _touch(self) -> None:
        now = int(self.context.clock.now().timestamp())
        for zone in self._zones:
            zone.serial = now

    def search_path(self, client: str) -> Sequence[bytes]:
        """What an asking pod's resolver appends, by the pod's namespace; empty where no pod asks."""
        names = self.source.pod_namespaces(client)
        if not names or not self.options.domains:
            return ()
        domain = self.options.domains[0]
        return [wire.name_to_wire(each) for each in (f"{min(names)}.svc.{domain}", f"svc.{domain}", domain)]

    def _zone_of(self, lower: bytes) -> ClusterZone | ReverseZone | None:
        return next((zone for zone in self._zones if zone.holds(lower)), None)

    def wrap(self, following: Handler) -> Handler:
        def ask(query: Query) -> Answer:
            return self.context.ask(self.site.port, query)

        def handle(query: Query) -> Answer:
            zone = self._zone_of(query.lower)
            if zone is None or query.qclass != wire.IN:
                return following(query)
            if not self.synced:
                return Response(rcode=wire.SERVFAIL)  # better asked again than told that it does not exist
            response = zone.answer(query)
            if response.rcode == wire.NXDOMAIN and any(wire.is_below(query.lower, fall) for fall in self._falls):
                return following(query)
            return chased(query, response, ask) if response.chase else response

        return handle


def setup(directive: Directive, site: Site, context: Context) -> Kubernetes:
    plugin = Kubernetes(read(directive, site.zones), site, context)
    context.readiness["kubernetes"] = lambda: plugin.synced
    return plugin
