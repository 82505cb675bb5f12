"""Which rules hold for which kind."""

from clew.api.kinds import CRD, EVENT, IP_ADDRESS, NAMESPACE, NODE, POD, SERVICE, SERVICE_CIDR, Kind
from clew.cluster.apiserver.address_book import AddressBook
from clew.cluster.apiserver.services import Pools
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies.addresses import IpAddressStrategy, ServiceCidrStrategy
from clew.cluster.apiserver.strategies.custom import CustomStrategy
from clew.cluster.apiserver.strategies.definitions import DefinitionStrategy
from clew.cluster.apiserver.strategies.events import EventStrategy
from clew.cluster.apiserver.strategies.namespaces import NamespaceStrategy
from clew.cluster.apiserver.strategies.nodes import NodeStrategy
from clew.cluster.apiserver.strategies.pods import PodStrategy
from clew.cluster.apiserver.strategies.services import ServiceStrategy
from clew.cluster.apiserver.strategies.strategy import Strategy


class Strategies:
    """One strategy a kind, made on demand; a custom kind's lives as long as its definition."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.pools = Pools(state.options, state.objects(SERVICE), state.objects(IP_ADDRESS))
        self.book = AddressBook(state)
        self._known: dict[Kind, Strategy] = {
            POD: PodStrategy(state),
            SERVICE: ServiceStrategy(self.pools, self.book),
            NAMESPACE: NamespaceStrategy(NAMESPACE),
            NODE: NodeStrategy(NODE),
            EVENT: EventStrategy(EVENT),
            CRD: DefinitionStrategy(state),
            SERVICE_CIDR: ServiceCidrStrategy(state, self.pools, self.book),
            IP_ADDRESS: IpAddressStrategy(self.pools, self.book),
        }
        self._custom: dict[Kind, CustomStrategy] = {}

    def of(self, kind: Kind) -> Strategy:
        """The rules of a stored kind."""
        custom = self.state.catalog.custom(kind)
        if custom is not None:
            known = self._custom.get(kind)
            if known is None or known.custom is not custom:
                known = self._custom[kind] = CustomStrategy(custom, self.state)
            return known
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = Strategy(kind)
        return found
