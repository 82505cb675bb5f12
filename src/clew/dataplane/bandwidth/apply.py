"""Token buckets made as wanted, at links that are there. Blocking; called by node/podnet.py's worker.

A pod's own link, its bucket and the redirection at it go together; only the ifb link is left for us to remove.
"""

from collections.abc import Collection
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from clew.dataplane.bandwidth.objects import IFB_GROUP, PRIORITY, Bucket, Shape
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Delete, Link, Plain, Redirect, RtNetlink, SetLink, TokenBucket, clsact, tbf
from clew.reconcile import DeltaMap


class BandwidthPlane:
    """One node's."""

    def __init__(self, kernel: RtNetlink) -> None:
        self._kernel = kernel
        self._shapes: DeltaMap[str, Shape] = DeltaMap()
        self._stray: frozenset[str] = frozenset()  # ifb links of ours that belong to no pod any more

    def want(self, link: str, shape: Shape | None) -> None:
        """What limits the pod behind `link`; None where nothing does, or it is gone."""
        self._shapes.want(link, shape)

    def keep_only(self, links: Collection[str]) -> None:
        """Forget every link that is not among these."""
        for name in [name for name in self._shapes.desired if name not in links]:
            self._shapes.want(name, None)

    def problem(self, link: str) -> str:
        """What of a link's limits is not in the kernel, as of the last reading; empty where all is."""
        return "its bandwidth is not limited as it was asked for" if link in self._shapes.updates else ""

    def read(self) -> None:
        """Read everything back; the next `sync` repairs what differs."""
        links = {link.name: link for link in self._kernel.links()}
        wanted = {shape.ifb for shape in self._shapes.desired.values() if shape.from_pod is not None}
        self._stray = frozenset(n for n, link in links.items() if link.group == IFB_GROUP and n not in wanted)
        if not self._shapes.desired:
            self._shapes.found_whole({})
            return
        buckets = {
            each.dev: Bucket(each.bucket.rate, each.bucket.limit)
            for each in self._kernel.qdiscs()
            if each.bucket is not None
        }
        found = {}
        for name, shape in self._shapes.desired.items():
            if name in links:
                led = shape.ifb in links and links[shape.ifb].up
                led = led and self._redirects(shape) == [Redirect(name, shape.ifb, PRIORITY)]
                found[name] = replace(shape, to_pod=buckets.get(name), from_pod=buckets.get(shape.ifb) if led else None)
        self._shapes.found_whole(found)

    def _redirects(self, shape: Shape) -> list[Redirect]:
        return [each for each in self._kernel.redirects(shape.link) if each.priority == PRIORITY]

    def sync(self, links: AbstractSet[str]) -> dict[str, KernelError]:
        """Refusals by the pods' links. What belongs to a link that is not among `links` waits for it."""
        failures: dict[str, KernelError] = {}
        for name in sorted(self._shapes.updates.keys() & links):
            try:
                self._make(self._shapes.updates[name])
            except KernelError as refusal:
                failures[name] = refusal
            else:
                self._shapes.done(name)
        gone = [self._shapes.actual[name] for name in self._shapes.deletions]
        for ifb in sorted({*(shape.ifb for shape in gone if shape.from_pod), *self._stray}):
            answer = self._kernel.attempt([Delete(Link(ifb))])[0]
            if answer is not None and not answer.absent:
                failures[ifb] = answer
        for shape in gone:
            if shape.ifb not in failures:
                self._shapes.found(shape.link, None)
        self._stray = frozenset(failures) & self._stray
        return failures

    def _make(self, shape: Shape) -> None:
        if shape.to_pod is not None:
            self._kernel.request([Add(tbf(shape.link, _bucket(shape.to_pod)), replace=True)])
        if shape.from_pod is None:
            return
        if self._kernel.link(shape.ifb) is None:
            made = Link(shape.ifb, Plain("ifb"), mtu=shape.mtu, group=IFB_GROUP)
            self._kernel.request([Add(made)])
        self._kernel.request([Add(tbf(shape.ifb, _bucket(shape.from_pod)), replace=True), SetLink(shape.ifb, up=True)])
        answer = self._kernel.attempt([Add(clsact(shape.link))])[0]
        if answer is not None and not answer.exists:
            raise answer
        here = self._redirects(shape)
        if here != [Redirect(shape.link, shape.ifb, PRIORITY)]:  # one to an ifb that was removed drops all packets
            self._kernel.request([*map(Delete, here[:1]), Add(Redirect(shape.link, shape.ifb, PRIORITY))])


def _bucket(bucket: Bucket) -> TokenBucket:
    return TokenBucket(bucket.rate, bucket.limit, bucket.burst)
