"""What is no resource: version, health, discovery, OpenAPI, and how to verify service account tokens."""

import platform
from collections.abc import Callable

import msgspec
from aiohttp import web

from clew.api import openapi
from clew.api.kinds import CRD, Kind
from clew.api.objects import Object
from clew.cluster.apiserver import discovery
from clew.cluster.apiserver.catalog import is_established
from clew.cluster.apiserver.errors import method_not_allowed, no_such_path
from clew.cluster.apiserver.paths import RequestInfo
from clew.cluster.apiserver.replies import respond, respond_bytes
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.tokens import Tokens

_SWAGGER_MESSAGE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_CHECKS = ("ping", "storage", "poststarthook/rbac/bootstrap-roles")


class Documents:
    """Documents that follow from the catalogue are made once an edition of it."""

    def __init__(self, state: State, tokens: Tokens) -> None:
        self.state = state
        self.tokens = tokens
        self._made: dict[str, bytes] = {}
        self._edition = -1

    def answer(self, request: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        """404 for a path that is none of ours, 405 for anything but reading."""
        if request.method not in {"GET", "HEAD"}:
            raise method_not_allowed()
        parts = [part for part in info.path.split("/") if part]
        match parts:
            case [] | ["api" | "apis", *_]:
                return self._discovery(request, parts)
            case ["version"]:
                return respond(self._version())
            case ["healthz" | "livez" | "readyz" as which, *check]:
                return self._health(request, which, "/".join(check))
            case ["openapi", "v3", *rest]:
                return self._openapi("/".join(rest))
            case ["openapi", "v2"] if "protobuf" in request.headers.get("Accept", ""):
                return web.Response(body=_swagger_message(self.state.options.version), content_type=_SWAGGER_MESSAGE)
            case ["openapi", "v2"]:
                return respond_bytes(self._kept("openapi/v2", self._swagger))
            case [".well-known", "openid-configuration"]:
                return respond(self.tokens.configuration(f"https://{request.host}/openid/v1/jwks"))
            case ["openid", "v1", "jwks"]:
                return respond(self.tokens.keys())
        raise no_such_path()

    def _kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        catalog = self.state.catalog
        if self._edition != catalog.edition:
            self._made.clear()
            self._edition = catalog.edition
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = make()
        return found

    def _version(self) -> dict[str, str]:
        version = self.state.options.version
        major, minor, _ = version.removeprefix("v").split(".")
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        return {
            "major": major, "minor": minor, "gitVersion": version, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": f"linux/{machine}",
        }  # fmt: skip

    def _health(self, request: web.BaseRequest, which: str, check: str) -> web.StreamResponse:
        if check and check not in _CHECKS:
            raise no_such_path()
        stopping = which == "readyz" and self.state.stopping.is_set()
        if "verbose" not in request.query and not stopping:
            return web.Response(text="ok")
        lines = [f"[+]{name} ok" for name in _CHECKS]
        if stopping:
            lines.append("[-]shutdown failed: reason withheld")
        text = "\n".join([*lines, f"{which} check {'failed' if stopping else 'passed'}", ""])
        return web.Response(text=text, status=500 if stopping else 200)

    def _discovery(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        catalog = self.state.catalog
        wants_all = "APIGroupDiscoveryList" in request.headers.get("Accept", "")
        made: Object | None = None
        match parts:
            case []:
                made = {"paths": discovery.paths(catalog)}
            case ["api" | "apis" as root]:
                core = root == "api"
                if wants_all and "v=v2;" in request.headers["Accept"] + ";":
                    body = self._kept(f"{root} all", lambda: _encode(discovery.aggregated(catalog, core=core)))
                    headers = {"Content-Type": discovery.AGGREGATED, "Vary": "Accept"}
                    return web.Response(body=body, headers=headers)
                made = discovery.core_versions(request.host) if core else discovery.group_list(catalog)
            case ["api", version]:
                made = discovery.resources(catalog, "", version)
            case ["apis", group]:
                made = discovery.one_group(catalog, group)
            case ["apis", group, version]:
                made = discovery.resources(catalog, group, version)
        if made is None:
            raise no_such_path()
        return respond(made)

    def _openapi(self, rest: str) -> web.StreamResponse:
        if not rest:
            return respond_bytes(self._kept("openapi", lambda: _encode(openapi.index(*self._kinds()))))
        group_version = rest.partition("/")[2]
        known = {kind.api_version for kind in self.state.catalog}
        if group_version not in known or not rest.startswith("apis/" if "/" in group_version else "api/"):
            raise no_such_path()
        return respond_bytes(self._kept(rest, lambda: openapi.document(group_version, *self._kinds())))

    def _kinds(self) -> tuple[list[Kind], list[Object]]:
        return list(self.state.catalog), [crd for crd in self.state.objects(CRD) if is_established(crd["status"])]

    def _swagger(self) -> bytes:
        """OpenAPI v2 for tools that still read it: the definitions of every group, without paths."""
        definitions: Object = {}
        for group_version in sorted({kind.api_version for kind in self.state.catalog}):
            document = openapi.document(group_version, *self._kinds())
            told = document.replace(b"#/components/schemas/", b"#/definitions/")
            definitions |= (msgspec.json.decode(told).get("components") or {}).get("schemas") or {}
        version = self.state.options.version
        info = {"title": "Kubernetes", "version": version}
        return _encode({"swagger": "2.0", "info": info, "paths": {}, "definitions": definitions})


def _encode(obj: Object) -> bytes:
    return msgspec.json.encode(obj)


def _swagger_message(version: str) -> bytes:
    """OpenAPI v2 as gnostic's Document, without a definition: swagger = 1, info = 2 {title = 1, version = 2}.

    kubectl asks for it in this form alone, to check a `kind: List` before it is sent item by item; what it has no
    definition of it leaves to the server.
    """

    def text(number: int, value: bytes) -> bytes:
        return bytes((number << 3 | 2, len(value))) + value

    return text(1, b"2.0") + text(2, text(1, b"Kubernetes") + text(2, version.encode()))
