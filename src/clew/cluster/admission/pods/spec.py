"""A pod's spec as a whole; containers, volumes and placement have modules of their own."""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import (
    FieldError,
    each_invalid,
    forbidden,
    invalid,
    one_of,
    required,
    too_many,
)
from clew.cluster.admission.pods.containers import container_errors
from clew.cluster.admission.pods.placement import placement_errors
from clew.cluster.admission.pods.security import pod_security_errors
from clew.cluster.admission.pods.volumes import volume_errors

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_MOST_NAMESERVERS, _MOST_SEARCHES, _MOST_SEARCH_CHARACTERS = 3, 32, 2048
_NAMES: dict[str, names.Rule] = {
    "nodeName": names.subdomain, "hostname": names.label, "subdomain": names.label,
    "serviceAccountName": names.subdomain, "schedulerName": names.subdomain, "priorityClassName": names.subdomain,
    "runtimeClassName": names.subdomain,
}  # fmt: skip


def pod_errors(pod: Object) -> Iterator[FieldError]:
    spec = pod.get("spec") or {}
    yield from spec_errors(spec, "spec")
    if spec.get("ephemeralContainers"):
        yield forbidden("spec.ephemeralContainers", "cannot be set on create")


def spec_errors(spec: Object, at: str, policies: tuple[str, ...] = RESTART_POLICIES) -> Iterator[FieldError]:
    """`policies`: the restart policies that are allowed here, which for most templates is Always alone."""
    volumes, found = volume_errors(spec.get("volumes") or [], f"{at}.volumes")
    yield from found
    yield from container_errors(spec, at, volumes)
    yield from one_of(f"{at}.restartPolicy", spec.get("restartPolicy"), policies)
    yield from _dns(spec, at)
    for field, rule in _NAMES.items():
        if spec.get(field):
            yield from each_invalid(f"{at}.{field}", spec[field], rule(spec[field]))
    for index, reference in enumerate(spec.get("imagePullSecrets") or []):
        if not reference.get("name"):
            yield required(f"{at}.imagePullSecrets[{index}].name")
    yield from _deadlines(spec, at)
    yield from _host_aliases(spec, at)
    yield from _gates(spec, at)
    yield from placement_errors(spec, at)
    yield from pod_security_errors(spec, at)


def _deadlines(spec: Object, at: str) -> Iterator[FieldError]:
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= 2**31 - 1:
        yield invalid(f"{at}.activeDeadlineSeconds", seconds, f"must be between 1 and {2**31 - 1}, inclusive")
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        yield invalid(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0")


def _gates(spec: Object, at: str) -> Iterator[FieldError]:
    for index, gate in enumerate(spec.get("readinessGates") or []):
        name = gate.get("conditionType") or ""
        yield from each_invalid(f"{at}.readinessGates[{index}].conditionType", name, names.qualified(name))
    for index, gate in enumerate(spec.get("schedulingGates") or []):
        name = gate.get("name") or ""
        yield from each_invalid(f"{at}.schedulingGates[{index}]", name, names.qualified(name))


def _host_aliases(spec: Object, at: str) -> Iterator[FieldError]:
    for index, alias in enumerate(spec.get("hostAliases") or []):
        here = f"{at}.hostAliases[{index}]"
        yield from each_invalid(f"{here}.ip", alias.get("ip") or "", names.ip(alias.get("ip") or ""))
        for number, name in enumerate(alias.get("hostnames") or []):
            yield from each_invalid(f"{here}.hostnames[{number}]", name, names.subdomain(name))


def _dns(spec: Object, at: str) -> Iterator[FieldError]:
    policy, config = spec.get("dnsPolicy"), spec.get("dnsConfig") or {}
    yield from one_of(f"{at}.dnsPolicy", policy, _DNS_POLICIES)
    servers = config.get("nameservers") or []
    here = f"{at}.dnsConfig"
    if policy == "None" and not servers:
        yield (
            required(here, f"must provide `dnsConfig` when `dnsPolicy` is {policy}")
            if not config
            else required(f"{here}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
        )
    if len(servers) > _MOST_NAMESERVERS:
        text = f"must not have more than {_MOST_NAMESERVERS} nameservers"
        yield invalid(f"{here}.nameservers", servers, text)
    for index, server in enumerate(servers):
        yield from each_invalid(f"{here}.nameservers[{index}]", server, names.ip(server))
    yield from _searches(config.get("searches") or [], f"{here}.searches")
    for index, option in enumerate(config.get("options") or []):
        if not option.get("name"):
            yield required(f"{here}.options[{index}]", "must not be empty")


def _searches(searches: list[Any], at: str) -> Iterator[FieldError]:
    if len(searches) > _MOST_SEARCHES:
        yield too_many(at, len(searches), _MOST_SEARCHES)
    if len(" ".join(searches)) > _MOST_SEARCH_CHARACTERS:
        text = f"must not have more than {_MOST_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        yield invalid(at, searches, text)
    for index, search in enumerate(searches):
        bare = search.removesuffix(".") or "a"  # a lone dot is the root
        yield from each_invalid(f"{at}[{index}]", search, names.subdomain(bare.replace("_", "a")))
