"""ServiceCIDRs add to the networks that Services' addresses come from; IPAddresses keep one from being given away."""

from clew.api.kinds import IP_ADDRESS, SERVICE_CIDR
from clew.api.objects import Object
from clew.cluster.apiserver.address_book import FINALIZER, AddressBook, condition
from clew.cluster.apiserver.services import Pools
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies.strategy import Claim, Strategy


class ServiceCidrStrategy(Strategy):
    def __init__(self, state: State, pools: Pools, book: AddressBook) -> None:
        super().__init__(SERVICE_CIDR)
        self.state = state
        self.pools = pools
        self.book = book
        for obj in state.objects(SERVICE_CIDR):
            self.stored(obj)

    def prepare_create(self, obj: Object) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        obj["metadata"]["finalizers"] = finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER]
        obj["status"] = {"conditions": [condition(self.state, "True", "", "Kubernetes Service CIDR is ready")]}

    def stored(self, obj: Object) -> None:
        going = "deletionTimestamp" in obj["metadata"]
        self.pools.ranges.put(obj["metadata"]["name"], () if going else obj["spec"]["cidrs"])
        if going:
            self.book.look_at()

    def removed(self, obj: Object) -> None:
        self.pools.ranges.drop(obj["metadata"]["name"])


class IpAddressStrategy(Strategy):
    def __init__(self, pools: Pools, book: AddressBook) -> None:
        super().__init__(IP_ADDRESS)
        self.pools = pools
        self.book = book

    def claim(self, obj: Object, old: Object | None) -> Claim | None:
        """Nobody's address is this object's from now on; a Service's stays the Service's."""
        return self.pools.reserve(obj) if old is None else None

    def removed(self, obj: Object) -> None:
        self.pools.give_back(obj)
        self.book.look_at(obj["metadata"]["name"])
