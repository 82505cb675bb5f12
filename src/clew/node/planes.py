"""The planes of a node's pod network, driven as one: what they are to hold of an attachment, read, compared, applied.

They do not know each other; their order, and what of one the others need, is here. Every call blocks on the kernel but
`want`, `drop` and `keep_only`. No task and no clock: node/podnet drives it, in one thread at a time.
"""

from collections.abc import Iterable
from typing import NamedTuple

from clew.compile import links
from clew.dataplane.bandwidth import render as shaping
from clew.dataplane.bandwidth.apply import BandwidthPlane
from clew.dataplane.bird.apply import BirdPlane
from clew.dataplane.hostports.apply import HostPortPlane
from clew.dataplane.masquerade.apply import MasqueradePlane
from clew.dataplane.netlink import render
from clew.dataplane.netlink.apply import NetlinkPlane, Outcome
from clew.dataplane.overlay.apply import OverlayPlane
from clew.facts.attachment import Attachment
from clew.kernel.errors import KernelError
from clew.node.ipsec import Identity

Key = tuple[str, str]

READ_BACK, HOST_PORTS = "read back", "host ports"  # names of failures that are no object's


class Planes(NamedTuple):
    """The node's kernel, as far as the pod network changes it, and the keys that go into it."""

    links: NetlinkPlane
    tunnels: OverlayPlane
    identity: Identity
    router: BirdPlane
    host_ports: HostPortPlane
    nat: MasqueradePlane
    rates: BandwidthPlane

    def want(self, attachment: Attachment) -> None:
        """Its link, its host ports, its rates."""
        port = render.port(links.port(attachment))
        self.host_ports.want(attachment.key, links.host_ports(attachment), port.link.master or port.link.name)
        self.links.want_port(port)
        rates = links.rates(attachment)
        self.rates.want(port.link.name, shaping.shape(rates, port.link.name) if rates is not None else None)

    def drop(self, key: Key) -> None:
        """Nothing of an attachment any more."""
        name = render.host_name(*key)
        self.links.drop_port(name)
        self.host_ports.want(key, (), "")
        self.rates.want(name, None)

    def keep_only(self, keys: set[Key]) -> None:
        """Nothing of all others."""
        kept = {render.host_name(*key) for key in keys}
        for name in self.links.ports.desired.keys() - kept:
            self.links.drop_port(name)
        self.host_ports.keep_only(keys)
        self.rates.keep_only(kept)

    def whole(self, keys: Iterable[Key]) -> set[Key]:
        """Of these attachments those that have all of their link in the kernel. To be called first of all."""
        self.links.read()
        self.host_ports.read()
        found = self.links.whole()
        return {key for key in keys if render.host_name(*key) in found}

    def problem(self, key: Key, ns: int, mac: str) -> str:
        """What is wrong with an attachment's two ends; empty where nothing is. `mac`: of the pod's end."""
        name = render.host_name(*key)
        self.links.read()
        self.host_ports.read()
        self.rates.read()
        return self.links.check(name, ns, mac) or self.rates.problem(name) or self.host_ports.problem(key)

    def apply(self, *, read_back: bool) -> Outcome:
        """All that differs; a plane that is refused leaves the others to do their part."""
        failures: dict[str, KernelError] = {}
        if read_back:
            try:
                for each in (self.links, self.tunnels, self.router, self.host_ports, self.nat, self.rates):
                    each.read()
            except KernelError as refusal:
                failures[READ_BACK] = refusal
        failures |= self.tunnels.make()
        outcome = self.links.sync()
        failures |= self.tunnels.sweep()
        failures |= self.rates.sync(self.links.whole())
        for name, plane in (("router", self.router), (HOST_PORTS, self.host_ports), ("masquerade", self.nat)):
            try:
                plane.sync()
            except KernelError as refusal:
                failures[name] = refusal
        return Outcome({**outcome.failures, **failures}, outcome.missing)
