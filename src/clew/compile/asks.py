"""A Pod's annotations to what it asks of the pod network. Pure; a refusal names the annotation and its text."""

from collections.abc import Mapping
from ipaddress import ip_address

import msgspec

from clew.base.addresses import family_of
from clew.base.value import Value
from clew.compile.ipam import UnsuitableError
from clew.facts.pod_asks import ADDRESSES, POOLS, REFUSED, PodAsks


class Asks(Value):
    """`pools` by family: names or ranges of IPPools. All empty where the Pod asks nothing."""

    ips: tuple[str, ...] = ()  # bare, at most one a family
    pools: Mapping[int, tuple[str, ...]] = {}
    namespace: Mapping[str, str] = {}  # labels of its Namespace


NOTHING = Asks()


def asks(pod: PodAsks) -> Asks:
    """UnsuitableError where an annotation cannot be read."""
    if not pod.annotations and not pod.namespace_labels:
        return NOTHING
    said = dict(pod.annotations)
    for name in REFUSED:
        if name in said:
            text = f"this is not done: nobody would know the way to such an address; {ADDRESSES} takes one of a pool"
            raise UnsuitableError(f"{field(name)} is {said[name]!r}: {text}")
    pools = {family: _texts(name, said[name]) for family, name in POOLS.items() if name in said}
    return Asks(_addresses(said[ADDRESSES]) if ADDRESSES in said else (), pools, dict(pod.namespace_labels))


def field(name: str) -> str:
    return f"metadata.annotations[{name}]"


def _texts(name: str, text: str) -> tuple[str, ...]:
    try:
        found = msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        found = []
    if not found:
        raise UnsuitableError(f'{field(name)} is {text!r}: it must be a list in JSON with a text in it, as ["a"]')
    return tuple(found)


def _addresses(text: str) -> tuple[str, ...]:
    found: dict[int, str] = {}
    for each in _texts(ADDRESSES, text):
        try:
            chosen = str(ip_address(each))
        except ValueError:
            raise UnsuitableError(f"{field(ADDRESSES)} is {text!r}: {each!r} is no address") from None
        if family_of(chosen) in found:
            raise UnsuitableError(f"{field(ADDRESSES)} is {text!r}: a pod has one address of a family")
        found[family_of(chosen)] = chosen
    return tuple(found.values())
