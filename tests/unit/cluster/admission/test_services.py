from collections.abc import Callable

import pytest

from clew.api.kinds import ENDPOINT_SLICE, ENDPOINTS, SERVICE

Refused = Callable[..., list[str]]

PORT = "must be between 1 and 65535, inclusive"
IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
PORTS = [{"port": 80}]


def service(**spec: object) -> dict:
    return {"metadata": {"name": "s"}, "spec": {"ports": PORTS, **spec}}


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        ({}, []),
        ({"ports": []}, ["spec.ports: Required value"]),
        ({"ports": [], "clusterIP": "None"}, []),
        (
            {"ports": [{"port": 99999, "targetPort": 80}]}, [f"spec.ports[0].port: Invalid value: 99999: {PORT}"],
        ),
        ({"ports": [{}]}, [f"spec.ports[0].port: Invalid value: 0: {PORT}"]),
        (
            {"ports": [{"port": 80}, {"port": 81, "name": "a"}]}, ["spec.ports[0].name: Required value"],
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
            ['spec.ports[1].name: Duplicate value: "a"'],
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
            [('spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,'
              '"NodePort":0}')],
        ),
        ({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "UDP"}]}, []),
        (
            {"ports": [{"port": 80, "protocol": "ICMP"}]},
            ['spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'],
        ),
        (
            {"ports": [{"port": 80, "targetPort": "-x"}]},
            ['spec.ports[0].targetPort: Invalid value: "-x": must not begin or end with a hyphen'],
        ),
        ({"ports": [{"port": 80, "targetPort": 70000}]}, [f"spec.ports[0].targetPort: Invalid value: 70000: {PORT}"]),
        (
            {"ports": [{"port": 80, "nodePort": 30000}]},
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            {"type": "Magic"},
            [('spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer",'
             ' "NodePort"')],
        ),
        (
            {"type": "NodePort", "clusterIP": "None"},
            ['spec.clusterIPs[0]: Invalid value: "None": may not be set to \'None\' for NodePort services'],
        ),
        ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
        ({"type": "ExternalName", "externalName": "example.com."}, []),
        (
            {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.1"},
            ["spec.clusterIPs: Forbidden: may not be set for ExternalName services"],
        ),
        ({"clusterIP": "10.96.0.300"}, [f'spec.clusterIPs[0]: Invalid value: "10.96.0.300": {IP}']),
        (
            {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "10.96.0.2"]},
            [('spec.clusterIPs: Invalid value: ["10.96.0.1","10.96.0.2"]: may specify no more than one IP for each IP'
             " family")],
        ),
        (
            {"ipFamilies": ["IPv4", "IPv4"]}, ['spec.ipFamilies[1]: Duplicate value: "IPv4"'],
        ),
        (
            {"ipFamilyPolicy": "Both"},
            [('spec.ipFamilyPolicy: Unsupported value: "Both": supported values: "PreferDualStack", "RequireDualStack",'
             ' "SingleStack"')],
        ),
        (
            {"sessionAffinity": "Cookie"},
            ['spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"'],
        ),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}}},
            [(
             "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less"
             " than 86400")],
        ),
        ({"externalIPs": ["a"]}, [f'spec.externalIPs[0]: Invalid value: "a": {IP}']),
        (
            {"externalIPs": ["127.0.0.1"]},
            [('spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8,'
             ' ::1/128)')],
        ),
        (
            {"loadBalancerSourceRanges": ["10.0.0.0/8"]},
            ["spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"],
        ),
        (
            {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0"]},
            [('spec.loadBalancerSourceRanges[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g.'
             ' 10.9.8.0/24'
             " or 2001:db8::/64)")],
        ),
        ({"type": "LoadBalancer", "ports": [{"port": 10250}]}, []),  # refused until 1.33
        ({"type": "LoadBalancer", "loadBalancerIP": "balancer"}, []),  # the balancer's matter
        ({"type": "ExternalName", "externalName": "a.b", "ports": [{"port": 80, "nodePort": 30080}]}, []),
        (
            {"clusterIPs": ["10.96.0.1"]},
            ['spec.clusterIPs: Invalid value: ["10.96.0.1"]: must be empty when `clusterIP` is not specified'],
        ),
        ({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", ""]}, [f'spec.clusterIPs[1]: Invalid value: "": {IP}']),
        (
            {"type": "ExternalName", "externalName": "a.b", "externalIPs": ["192.0.2.1"],
             "externalTrafficPolicy": "Local"},
            ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
        ),
        (
            {"externalTrafficPolicy": "Local"},
            ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
        ),
        (
            {"type": "NodePort", "externalTrafficPolicy": "Far"},
            ['spec.externalTrafficPolicy: Unsupported value: "Far": supported values: "Cluster", "Local"'],
        ),
        (
            {"internalTrafficPolicy": "Far"},
            ['spec.internalTrafficPolicy: Unsupported value: "Far": supported values: "Cluster", "Local"'],
        ),
        (
            {"type": "NodePort", "healthCheckNodePort": 30000},
            [("spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and"
             " `externalTrafficPolicy` is 'Local'")],
        ),
        (
            {"loadBalancerClass": "a/b"},
            ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
        ),
    ],
)  # fmt: skip
def test_services(refused: Refused, spec: dict, texts: list) -> None:
    assert refused(SERVICE, service(**spec)) == texts


RANGES, MODE = "service.beta.kubernetes.io/load-balancer-source-ranges", "service.kubernetes.io/topology-mode"


@pytest.mark.parametrize(
    ("kind", "notes", "texts"),
    [
        ("LoadBalancer", {RANGES: " 10.0.0.0/8 , 2001:db8::/32"}, []),
        ("LoadBalancer", {RANGES: " "}, []),
        (
            "LoadBalancer", {RANGES: "10.0.0.0/8,foo"},
            [(f'metadata.annotations[{RANGES}]: Invalid value: "foo": must be a valid CIDR value, (e.g. 10.9.8.0/24 or'
              " 2001:db8::/64)")],
        ),
        (
            "ClusterIP", {RANGES: "10.0.0.0/8"},
            [f"metadata.annotations[{RANGES}]: Forbidden: may only be used when `type` is 'LoadBalancer'"],
        ),
        ("ClusterIP", {MODE: "Auto", "service.kubernetes.io/topology-aware-hints": "Auto"}, []),
        ("ClusterIP", {"service.kubernetes.io/topology-aware-hints": "Auto"}, []),
        (
            "ClusterIP", {MODE: "Auto", "service.kubernetes.io/topology-aware-hints": "auto"},
            [(f'metadata.annotations[{MODE}]: Invalid value: "Auto": must match'
              " annotations[service.kubernetes.io/topology-aware-hints] when both are specified")],
        ),
    ],
)  # fmt: skip
def test_annotations_that_fields_replaced(refused: Refused, kind: str, notes: dict, texts: list) -> None:
    made = service(type=kind)
    made["metadata"]["annotations"] = notes
    assert refused(SERVICE, made) == texts


@pytest.mark.parametrize(
    ("before", "after", "texts"),
    [
        ({"clusterIP": "10.96.0.1"}, {"clusterIP": "10.96.0.1"}, []),
        (
            {"clusterIP": "10.96.0.1"}, {"clusterIP": "10.96.0.2"},
            ['spec.clusterIPs[0]: Invalid value: ["10.96.0.2"]: may not change once set'],
        ),
        (
            {"clusterIP": "10.96.0.1"}, {},
            ["spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"],
        ),
        (
            {"ipFamilies": ["IPv4"]}, {"ipFamilies": ["IPv6"]},
            ['spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set'],
        ),
        ({"ipFamilies": ["IPv4"]}, {"ipFamilies": ["IPv4", "IPv6"]}, []),
        ({"clusterIP": "None", "ipFamilies": ["IPv4"]}, {"clusterIP": "None", "ipFamilies": ["IPv6"]}, []),
        (
            {"clusterIP": "None", "ipFamilies": ["IPv4"]}, {"clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"]},
            ['spec.clusterIPs[0]: Invalid value: ["10.96.0.1"]: may not change once set'],
        ),
        ({"clusterIP": "10.96.0.1"}, {"type": "ExternalName", "externalName": "a.b"}, []),
    ],
)  # fmt: skip
def test_changed_services(refused: Refused, before: dict, after: dict, texts: list) -> None:
    assert refused(SERVICE, service(**after), service(**before)) == texts


def subset(ip: str = "10.0.0.1", **port: object) -> dict:
    return {"addresses": [{"ip": ip}], "ports": [{"port": 80, **port}]}


@pytest.mark.parametrize(
    ("subsets", "texts"),
    [
        ([subset()], []),
        ([{"ports": []}], ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        ([subset("a")], [f'subsets[0].addresses[0].ip: Invalid value: "a": {IP}']),
        (
            [subset("169.254.1.1")],
            [('subsets[0].addresses[0].ip: Invalid value: "169.254.1.1": may not be in the link-local range'
             " (169.254.0.0/16, fe80::/10)")],
        ),
        (
            [subset("224.0.0.1")],
            [('subsets[0].addresses[0].ip: Invalid value: "224.0.0.1": may not be in the link-local multicast range'
             " (224.0.0.0/24, ff02::/10)")],
        ),
        ([subset("::")], ['subsets[0].addresses[0].ip: Invalid value: "::": may not be unspecified (0.0.0.0 or ::)']),
        ([subset(port=0)], [f"subsets[0].ports[0].port: Invalid value: 0: {PORT}"]),
        (
            [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1, "name": "a"}, {"port": 2}]}],
            ["subsets[0].ports[1].name: Required value"],
        ),
    ],
)  # fmt: skip
def test_endpoints(refused: Refused, subsets: list, texts: list) -> None:
    assert refused(ENDPOINTS, {"metadata": {"name": "e"}, "subsets": subsets}) == texts


def slice_of(*addresses: str, kind: str = "IPv4", **more: object) -> dict:
    endpoints = [{"addresses": list(addresses)}]
    return {"metadata": {"name": "e"}, "addressType": kind, "endpoints": endpoints, **more}


def hinted(**names: list[str]) -> dict:
    hints = {field: [{"name": name} for name in given] for field, given in names.items()}
    return {**slice_of(), "endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}]}


@pytest.mark.parametrize(
    ("part", "texts"),
    [
        (slice_of("10.0.0.1"), []),
        (slice_of("a.example.org", kind="FQDN"), []),
        (slice_of("a.example.org.", kind="FQDN"), []),
        (slice_of("", kind="FQDN"), ["endpoints[0].addresses[0]: Required value"]),
        (
            slice_of("a", kind="FQDN"),
            [('endpoints[0].addresses[0]: Invalid value: "a": should be a domain with at least two segments separated'
              " by dots")],
        ),
        (
            slice_of(f"{64 * 'a'}.org", kind="FQDN"),
            [f'endpoints[0].addresses[0]: Invalid value: "{64 * "a"}": must be no more than 63 bytes'],
        ),
        (slice_of(kind="IPv4"), ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
        (
            slice_of("10.0.0.1", kind="IPv6"),
            ['endpoints[0].addresses[0]: Invalid value: "10.0.0.1": must be an IPv6 address'],
        ),
        (
            slice_of("127.0.0.1"),
            [('endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8,'
             " ::1/128)")],
        ),
        (
            slice_of("10.0.0.1", kind="IPX"),
            ['addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6"'],
        ),
        (
            slice_of("10.0.0.1", ports=[{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]),
            ['ports[1].name: Duplicate value: "a"'],
        ),
        (slice_of("10.0.0.1", ports=[{"port": 70000}]), [f"ports[0].port: Invalid value: 70000: {PORT}"]),
        (hinted(forZones=["a", "b"], forNodes=["n-1"]), []),
        (hinted(forZones=["a", "a"]), ['endpoints[0].hints.forZones[1].name: Duplicate value: "a"']),
        (hinted(forNodes=["n", "n"]), ['endpoints[0].hints.forNodes[1].name: Duplicate value: "n"']),
        (
            hinted(forZones=[f"z{number}" for number in range(9)]),
            ["endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"],
        ),
        (
            {**slice_of(), "endpoints": [{"addresses": ["10.0.0.1"]}] * 1001},
            ["endpoints: Too many: 1001: must have at most 1000 items"],
        ),
    ],
)  # fmt: skip
def test_endpoint_slices(refused: Refused, part: dict, texts: list) -> None:
    assert refused(ENDPOINT_SLICE, part) == texts


def test_the_kind_of_addresses_lasts(refused: Refused) -> None:
    texts = refused(ENDPOINT_SLICE, slice_of("::2", kind="IPv6"), slice_of("10.0.0.1"))
    assert texts == ['addressType: Invalid value: "IPv6": field is immutable']
