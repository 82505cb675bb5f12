"""A Lease kept alive: how a node, or a part of which one is enough, shows that it is there.

Not an election: it says who holds the lease and renews it; nobody's lease is taken over. Called by kubelets.
"""

import logging
from collections.abc import Mapping
from typing import Any

from clew.api.kinds import LEASE
from clew.base.clock import Clock, SystemClock, rfc3339_micro
from clew.watch.backoff import between
from clew.watch.client import Client
from clew.watch.errors import ApiError

logger = logging.getLogger(__name__)

NODE_LEASES = "kube-node-lease"


class LeaseKeeper:
    """Renews `namespace/name` for `holder` every quarter of `duration` seconds, as kubelets do (KEP-589).

    `owner` is the ownerReference with which the Lease goes when its node goes.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        namespace: str = NODE_LEASES,
        duration: int = 40,
        owner: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._namespace = namespace
        self._duration = duration
        self._owner = owner
        self._clock = clock or SystemClock()
        self._said = ""

    async def run(self) -> None:
        """For ever; a server that is away is asked again, sooner than a renewal is due."""
        every = self._duration / 4
        while True:
            try:
                await self.renew()
            except ApiError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    logger.warning("lease %s/%s not renewed: %s", self._namespace, self._name, error)
                await self._clock.sleep(between(0.5, 1.0))
            else:
                self._said = ""
                await self._clock.sleep(every * between(0.96, 1.04))

    async def renew(self) -> None:
        """Once; made anew where it is missing. Raises ApiError."""
        now = rfc3339_micro(self._clock.now())
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": self._duration, "renewTime": now}
        try:
            await self._client.patch(LEASE, self._name, {"spec": spec}, self._namespace)
        except ApiError as error:
            if not error.not_found:
                raise
            meta: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
            if self._owner:
                meta["ownerReferences"] = [dict(self._owner)]
            lease = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": meta, "spec": spec}
            await self._client.create(LEASE, lease, self._namespace)
