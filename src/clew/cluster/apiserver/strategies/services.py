"""Services: addresses and node ports from the cluster's pools, kept over updates that do not name them."""

from clew.api.kinds import SERVICE
from clew.api.objects import Object
from clew.cluster.apiserver.address_book import AddressBook
from clew.cluster.apiserver.services import Pools, inherit
from clew.cluster.apiserver.strategies.strategy import Claim, Strategy


class ServiceStrategy(Strategy):
    def __init__(self, pools: Pools, book: AddressBook) -> None:
        super().__init__(SERVICE)
        self.pools = pools
        self.book = book

    def fill(self, obj: Object, subresource: str = "") -> None:  # noqa: ARG002 - the status has defaults, too
        super().fill(obj)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"loadBalancer": {}}

    def prepare_update(self, new: Object, old: Object) -> None:
        super().prepare_update(new, old)
        inherit(new, old)
        if (new.get("spec") or {}).get("type") != "LoadBalancer":
            new["status"] = {**(new.get("status") or {}), "loadBalancer": {}}

    def claim(self, obj: Object, old: Object | None) -> Claim:
        return self.pools.claim(obj, old)

    def stored(self, obj: Object) -> None:
        self.book.put(obj)

    def removed(self, obj: Object) -> None:
        self.pools.release(obj)
        self.book.drop(obj)
