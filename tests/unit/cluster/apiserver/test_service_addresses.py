"""ServiceCIDR and IPAddress (KEP-1880), over HTTP: what networks give, who has which address, what is refused."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Answer, Raw
from .samples import PATHS, SERVICE, changed

CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"


def cidr(name: str, *cidrs: str) -> Any:
    made = {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", **made}


def address(ip: str, **parent: str) -> Any:
    reference = {"resource": "services", "namespace": "default", "name": "mine", **parent}
    made = {"metadata": {"name": ip}, "spec": {"parentRef": reference}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", **made}


def service(name: str, ip: str = "") -> Any:
    made = changed(SERVICE, "metadata.name", name)
    return changed(made, "spec.clusterIP", ip) if ip else made


def until(call: Raw, path: str, wanted: Callable[[Answer], bool]) -> Any:
    """The object, as soon as the answer is as wanted."""
    end, tick = time.monotonic() + 60, threading.Event()
    while not wanted(answer := call("GET", path)):
        assert time.monotonic() < end, answer.text
        tick.wait(0.02)
    return answer.obj


def there(answer: Answer) -> bool:
    return answer.code == 200


def gone(answer: Answer) -> bool:
    return answer.code == 404


def test_the_servers_own_networks_are_an_object(call: Raw) -> None:
    made = call("GET", f"{CIDRS}/kubernetes").obj
    assert made["spec"]["cidrs"] == ["10.96.0.0/16"]
    assert made["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
    [told] = made["status"]["conditions"]
    assert (told["type"], told["status"], told["message"]) == ("Ready", "True", "Kubernetes Service CIDR is ready")


def test_every_address_of_a_service_has_an_object_as_long_as_the_service(call: Raw) -> None:
    call("POST", PATHS["Service"], service("mine", "10.96.5.5"))
    made = until(call, f"{ADDRESSES}/10.96.5.5", there)
    assert made["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }  # fmt: skip
    assert made["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "mine"}
    call("DELETE", f"{ADDRESSES}/10.96.5.5")
    assert until(call, f"{ADDRESSES}/10.96.5.5", there)["spec"] == made["spec"], "it comes back"
    call("DELETE", f"{PATHS['Service']}/mine")
    until(call, f"{ADDRESSES}/10.96.5.5", gone)
    assert until(call, f"{ADDRESSES}/10.96.0.1", there)["spec"]["parentRef"]["name"] == "kubernetes"


def test_the_servers_own_service_comes_back(call: Raw) -> None:
    """`kubectl delete service --all` cut DNS and every client of the API server inside the cluster off for good."""
    path, slices = f"{PATHS['Service']}/kubernetes", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    made = call("GET", path).obj
    assert call("DELETE", f"{slices}/kubernetes").code == 200
    assert call("DELETE", path).code == 200
    back = until(call, path, there)
    assert back["metadata"]["uid"] != made["metadata"]["uid"]
    assert back["spec"] == made["spec"]
    [endpoint] = until(call, f"{slices}/kubernetes", there)["endpoints"]
    assert endpoint["addresses"] == ["192.0.2.1"]


def test_an_address_that_somebody_keeps_is_given_to_no_service(call: Raw) -> None:
    assert call("POST", ADDRESSES, address("10.96.6.6")).code == 201
    refused = call("POST", PATHS["Service"], service("mine", "10.96.6.6"))
    assert refused.code == 422
    assert "provided IP is already allocated" in refused.obj["message"]
    call("DELETE", f"{ADDRESSES}/10.96.6.6")
    assert call("POST", PATHS["Service"], service("mine", "10.96.6.6")).code == 201


def test_a_new_network_gives_addresses_and_goes_when_it_has_none_left(call: Raw) -> None:
    refused = call("POST", PATHS["Service"], service("mine", "10.200.0.7"))
    assert "The range of valid IPs is 10.96.0.0/16" in refused.obj["message"]
    assert call("POST", CIDRS, cidr("more", "10.200.0.0/24")).code == 201
    assert call("POST", PATHS["Service"], service("mine", "10.200.0.7")).code == 201
    until(call, f"{ADDRESSES}/10.200.0.7", there)
    call("DELETE", f"{CIDRS}/more")
    waiting = until(call, f"{CIDRS}/more", lambda answer: answer.obj["status"]["conditions"][0]["status"] == "False")
    told = waiting["status"]["conditions"][0]
    assert told["reason"] == "Terminating"
    assert call("POST", PATHS["Service"], service("other", "10.200.0.8")).code == 422, "it gives nothing any more"
    call("DELETE", f"{PATHS['Service']}/mine")
    until(call, f"{CIDRS}/more", gone)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (cidr("bad"), "spec.cidrs: Required value: at least one CIDR required"),
        (cidr("bad", "10.1.0.0/33"), 'spec.cidrs[0]: Invalid value: "10.1.0.0/33"'),
        (cidr("bad", "10.1.0.1/24"), "must not have bits set beyond the prefix length"),
        (cidr("bad", "10.1.0.0/24", "10.2.0.0/24"), "may specify no more than one IP for each IP family"),
        (cidr("bad", "10.1.0.0/24", "fd00::/112", "10.2.0.0/24"), "may only hold up to 2 values"),
        (address("10.96.0.300"), 'metadata.name: Invalid value: "10.96.0.300": must be a valid IP address'),
        (address("fd00::0:1"), 'must be in canonical form ("fd00::1")'),
        (address("10.96.7.7", name=""), "spec.parentRef.name: Required value"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(call: Raw, made: Any, said: str) -> None:
    refused = call("POST", CIDRS if made["kind"] == "ServiceCIDR" else ADDRESSES, made)
    assert refused.code == 422, refused.text
    assert said in refused.obj["message"]


def test_neither_is_changed_but_by_a_second_family(call: Raw) -> None:
    made = call("POST", CIDRS, cidr("more", "10.200.0.0/24")).obj
    refused = call("PUT", f"{CIDRS}/more", changed(made, "spec.cidrs", ["10.201.0.0/24"]))
    assert refused.code == 422
    assert "field is immutable" in refused.obj["message"]
    assert call("PUT", f"{CIDRS}/more", changed(made, "spec.cidrs", ["10.200.0.0/24", "fd00:9::/112"])).code == 200
    kept = call("POST", ADDRESSES, address("10.96.8.8")).obj
    refused = call("PUT", f"{ADDRESSES}/10.96.8.8", changed(kept, "spec.parentRef.name", "other"))
    assert "spec.parentRef: Invalid value" in refused.obj["message"]
