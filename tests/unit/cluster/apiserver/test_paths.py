"""What a path and a method ask for."""

import pytest

from clew.cluster.apiserver.paths import read_path

PODS = "/api/v1/namespaces/shop/pods"


@pytest.mark.parametrize(
    ("method", "path", "read"),
    [
        ("GET", PODS, ("list", "shop", "pods", "", "", "")),
        ("GET", f"{PODS}/web", ("get", "shop", "pods", "web", "", "")),
        ("POST", f"{PODS}/web/exec", ("create", "shop", "pods", "web", "exec", "")),
        ("GET", "/api/v1/namespaces/shop", ("get", "shop", "namespaces", "shop", "", "")),
        ("GET", f"{PODS}/web/proxy", ("get", "shop", "pods", "web", "proxy", "")),
        ("GET", f"{PODS}/web:80/proxy/", ("get", "shop", "pods", "web:80", "proxy", "/")),
        ("POST", f"{PODS}/web/proxy/a/proxy//b", ("create", "shop", "pods", "web", "proxy", "/a/proxy//b")),
        (
            "GET",
            "/api/v1/namespaces/proxy/services/proxy/proxy/x",
            ("get", "proxy", "services", "proxy", "proxy", "/x"),
        ),
        ("GET", f"{PODS}/web/log/more", ("get", "", "", "", "", "")),
        ("GET", "/version", ("get", "", "", "", "", "")),
    ],
)
def test_read(method: str, path: str, read: tuple[str, ...]) -> None:
    info = read_path(method, path, watch=False)
    assert (info.verb, info.namespace, info.resource, info.name, info.subresource, info.tail) == read
