"""From load balancing to rules: the chains of one service port, and what it adds to the hubs. Pure.

The ways through them, as kube-proxy's:

    KUBE-SERVICES ─ cluster address ─▶ KUBE-SVC (policy Cluster) or KUBE-SVL (Local) ─▶ KUBE-SEP ─▶ DNAT
    KUBE-SERVICES ─ outside address ─▶ [KUBE-FW source ranges ─▶] KUBE-EXT ─▶ KUBE-SVC or KUBE-SVL
    KUBE-NODEPORTS ─ port ─▶ KUBE-EXT

Called by dataplane/iptables/programme, once per service port that changed.
"""

from collections.abc import Iterable, Sequence

from clew.base.addresses import with_port
from clew.base.value import Value
from clew.dataplane.iptables.objects import (
    EXTERNAL_SERVICES,
    MARK_MASQ,
    NODE_PORTS,
    OFF_CLUSTER,
    PROXY_FIREWALL,
    SERVICES,
    ChainKey,
    RuleKey,
    chain_name,
    destination,
    probability,
    remark,
    rule,
    source,
)
from clew.dataplane.iptables.rules import TO_LOOPBACK, TO_THIS_NODE, node_port_destinations, on_loopback
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.ir.proxying import Settings

MASKS = {4: "255.255.255.255", 6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
REJECTS = {4: "icmp-port-unreachable", 6: "icmp6-port-unreachable"}
KINDS = {"spec.clusterIPs": "cluster IP", "spec.externalIPs": "external IP", "status.loadBalancer": "loadbalancer IP"}


class Contribution(Value):
    chains: dict[ChainKey, tuple[str, ...]]
    lines: tuple[RuleKey, ...]


def contribution(balancer: Balancer, settings: Settings, *, comments: bool) -> Contribution:
    """`comments`: also where kube-proxy leaves them out in large clusters."""
    return _Port(balancer, settings, comments=comments).render()


class _Port:
    def __init__(self, balancer: Balancer, settings: Settings, *, comments: bool) -> None:
        self._balancer, self._settings, self._comments = balancer, settings, comments
        self._name = balancer.origin
        self._protocol = balancer.frontends[0].protocol if balancer.frontends else "TCP"
        self._word = self._protocol.lower()
        self._chains: dict[ChainKey, tuple[str, ...]] = {}
        self._lines: list[RuleKey] = []

    def render(self) -> Contribution:
        balancer = self._balancer
        internal = [each for each in balancer.frontends if each.scope == "internal"]
        external = [each for each in balancer.frontends if each.scope == "external"]
        policies = {each.policy for each in external}
        if balancer.cluster and (external or any(each.policy == "Cluster" for each in internal)):
            self._spread("SVC", balancer.cluster, internal, "Cluster")
        if balancer.local and (any(each.policy == "Local" for each in internal) or "Local" in policies):
            self._spread("SVL", balancer.local, internal, "Local")
        for frontend in internal:
            self._internal(frontend)
        if external and balancer.any_backend:
            self._chains["nat", self._chain("EXT")] = tuple(self._outside(local="Local" in policies))
        for frontend in external:
            self._external(frontend)
        if balancer.health_port:
            what = remark(f"{self._name} health check node port")
            port = f"-m tcp --dport {balancer.health_port} -j ACCEPT"
            for where in node_port_destinations(self._settings):
                self._add(("filter", NODE_PORTS), rule(where, "-p tcp", what, port))
        return Contribution(self._chains, tuple(self._lines))

    def _chain(self, kind: str) -> str:
        return chain_name(kind, self._name, self._protocol)

    def _add(self, key: ChainKey, text: str) -> None:
        self._lines.append((*key, text))

    def _spread(self, kind: str, backends: Sequence[Backend], internal: Iterable[Frontend], policy: str) -> None:
        """The chain of one policy: who is masqueraded, who comes back to whom, and by chance."""
        ends = [self._end(backend) for backend in backends]
        rules = [line for frontend in internal if frontend.policy == policy for line in self._masquerade(frontend)]
        if self._balancer.affinity:
            rules += [
                rule(
                    self._remark(),
                    f"-m recent --rcheck --seconds {self._balancer.affinity} --reap",
                    f"--name {end} --mask {MASKS[self._settings.family]} --rsource -j {end}",
                )
                for end in ends
            ]
        for at, (backend, end) in enumerate(zip(backends, ends, strict=True)):
            remaining = len(ends) - at
            chance = probability(remaining) if remaining > 1 else ""
            rules.append(rule(self._remark(f" -> {with_port(backend.address, backend.port)}"), chance, f"-j {end}"))
        self._chains["nat", self._chain(kind)] = tuple(rules)

    def _end(self, backend: Backend) -> str:
        """The chain of one backend, made once for both policies."""
        to = with_port(backend.address, backend.port)
        name = chain_name("SEP", self._name, self._protocol, to)
        if ("nat", name) not in self._chains:
            known = f"-m recent --set --name {name} --mask {MASKS[self._settings.family]} --rsource"
            self._chains["nat", name] = (
                rule(source(backend.address), self._remark(), f"-j {MARK_MASQ}"),
                rule(
                    f"-p {self._word}",
                    self._remark(),
                    known if self._balancer.affinity else "",
                    f"-m {self._word} -j DNAT --to-destination {to}",
                ),
            )
        return name

    def _masquerade(self, frontend: Frontend) -> list[str]:
        """What comes to a cluster address from beyond the pods, or all of it."""
        settings = self._settings
        to = (f"-p {self._word}", remark(f"{self._name} cluster IP"), f"-m {self._word} --dport {frontend.port}")
        where = destination(frontend.address)
        if settings.masquerade_all:
            return [rule(where, *to, f"-j {MARK_MASQ}")]
        if settings.pod_interface:
            beyond = f"! -i {_interface(settings)}"
            return [rule(where, beyond, *to, f"-j {MARK_MASQ}")]
        if len(settings.pod_cidrs) > 1:
            return [rule(where, *to, f"-j {OFF_CLUSTER}")]
        return [rule(source(each, negated=True), where, *to, f"-j {MARK_MASQ}") for each in settings.pod_cidrs]

    def _internal(self, frontend: Frontend) -> None:
        local = frontend.policy == "Local"
        kind = "SVL" if local else "SVC"
        if self._balancer.local if local else self._balancer.cluster:
            self._add(("nat", SERVICES), self._match(frontend, "cluster IP", f"-j {self._chain(kind)}"))
        else:
            self._add(("filter", SERVICES), self._nobody(frontend))

    def _outside(self, *, local: bool) -> Iterable[str]:
        """KUBE-EXT: masquerade and take any backend, or the short cuts of policy Local and then the local ones."""
        name, spread = self._name, self._chain("SVC")
        if not local:
            yield rule(remark(f"masquerade traffic for {name} external destinations"), f"-j {MARK_MASQ}")
            yield f"-j {spread}"
            return
        here = "-m addrtype --src-type LOCAL"
        if self._balancer.cluster:
            for inside in _inside(self._settings):
                yield rule(inside, remark(f"pod traffic for {name} external destinations"), f"-j {spread}")
            yield rule(remark(f"masquerade LOCAL traffic for {name} external destinations"), here, f"-j {MARK_MASQ}")
            yield rule(remark(f"route LOCAL traffic for {name} external destinations"), here, f"-j {spread}")
        if self._balancer.local:
            yield f"-j {self._chain('SVL')}"

    def _external(self, frontend: Frontend) -> None:
        balancer = self._balancer
        if balancer.any_backend:
            way = f"-j {self._chain('EXT')}"
            if not frontend.address:
                self._node_port(frontend, way)
            elif frontend.sources is None:
                self._add(("nat", SERVICES), self._match(frontend, _kind(frontend), way))
            else:
                self._firewall(frontend, frontend.sources)
        if not (balancer.local if frontend.policy == "Local" else balancer.cluster):
            for text in self._nobody_outside(frontend):
                self._add(("filter", EXTERNAL_SERVICES), text)

    def _node_port(self, frontend: Frontend, way: str) -> None:
        """Loopback has a rule of its own, so that the kernel counts what comes by it (kube-proxy: by nfacct)."""
        words = (f"-p {self._word}", remark(self._name), f"-m {self._word} --dport {frontend.port}", way)
        for where in (TO_LOOPBACK, f"! {TO_LOOPBACK}") if on_loopback(self._settings) else ("",):
            self._add(("nat", NODE_PORTS), rule(where, *words))

    def _firewall(self, frontend: Frontend, sources: Iterable[str]) -> None:
        """Only these sources get to KUBE-EXT; the rest goes on as it is, and is dropped in the filter table."""
        wall, kind = self._chain("FW"), _kind(frontend)
        self._chains["nat", wall] = tuple(
            rule(source(each), remark(f"{self._name} {kind}"), f"-j {self._chain('EXT')}") for each in sources
        )
        self._add(("nat", SERVICES), self._match(frontend, kind, f"-j {wall}"))
        self._add(("filter", PROXY_FIREWALL), self._match(frontend, f"traffic not accepted by {wall}", "-j DROP"))

    def _match(self, frontend: Frontend, what: str, way: str) -> str:
        return rule(
            destination(frontend.address),
            f"-p {self._word}",
            remark(f"{self._name} {what}"),
            f"-m {self._word} --dport {frontend.port}",
            way,
        )

    def _nobody(self, frontend: Frontend) -> str:
        """Refused where nobody serves, dropped where others do."""
        if self._balancer.any_backend:
            return self._match(frontend, "has no local endpoints", "-j DROP")
        reject = f"-j REJECT --reject-with {REJECTS[self._settings.family]}"
        return self._match(frontend, "has no endpoints", reject)

    def _nobody_outside(self, frontend: Frontend) -> list[str]:
        if frontend.address:
            return [self._nobody(frontend)]
        anyone = self._balancer.any_backend
        way = "-j DROP" if anyone else f"-j REJECT --reject-with {REJECTS[self._settings.family]}"
        port = f"-m {self._word} --dport {frontend.port}"
        what = remark(f"{self._name} has no {'local ' if anyone else ''}endpoints")
        return [
            rule(where, f"-p {self._word}", what, TO_THIS_NODE, port, way)
            for where in node_port_destinations(self._settings)
        ]

    def _remark(self, rest: str = "") -> str:
        return remark(f"{self._name}{rest}") if self._comments else ""


def _kind(frontend: Frontend) -> str:
    return next((kind for start, kind in KINDS.items() if frontend.field.startswith(start)), "external IP")


def _inside(settings: Settings) -> list[str]:
    """The conditions, one of which is true of what comes from a pod."""
    if settings.pod_interface:
        return [f"-i {_interface(settings)}"]
    return [source(each) for each in settings.pod_cidrs]


def _interface(settings: Settings) -> str:
    return settings.pod_interface.replace("*", "+")
