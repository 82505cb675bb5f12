"""What is no resource: version, health, discovery and OpenAPI."""

import platform

from aiohttp import web

from clew.api import openapi
from clew.api.kinds import CRD
from clew.cluster.apiserver import discovery
from clew.cluster.apiserver.errors import no_such_path
from clew.cluster.apiserver.paths import RequestInfo
from clew.cluster.apiserver.replies import respond, respond_bytes
from clew.cluster.apiserver.state import State


class Documents:
    def __init__(self, state: State) -> None:
        self.state = state

    async def answer(self, request: web.Request, info: RequestInfo) -> web.StreamResponse:
        parts = [part for part in info.path.split("/") if part]
        match parts:
            case ["version"]:
                return respond(self._version())
            case ["healthz" | "livez" | "readyz", *_]:
                return web.Response(text="ok")
            case ["api" | "apis"]:
                return self._roots(request, core=parts == ["api"])
            case ["api", "v1"] | ["apis", _, _]:
                return self._resources(parts)
            case ["apis", group]:
                found = discovery.one_group(self.state.catalog, group)
                if found:
                    return respond(found)
            case ["openapi", "v3", *rest]:
                return self._openapi("/".join(rest))
        raise no_such_path()

    def _version(self) -> dict[str, str]:
        version = self.state.options.version
        major, minor, _ = version.removeprefix("v").split(".")
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        return {
            "major": major, "minor": minor, "gitVersion": version, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": f"linux/{machine}",
        }  # fmt: skip

    def _roots(self, request: web.Request, *, core: bool) -> web.StreamResponse:
        if "APIGroupDiscoveryList" in request.headers.get("Accept", ""):
            response = respond(discovery.aggregated(self.state.catalog, core=core))
            response.headers["Content-Type"] = discovery.AGGREGATED
            response.headers["Vary"] = "Accept"
            return response
        if core:
            return respond({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        return respond(discovery.group_list(self.state.catalog))

    def _resources(self, parts: list[str]) -> web.StreamResponse:
        group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
        kinds = self.state.catalog.groups().get(group, {}).get(version)
        if not kinds:
            raise no_such_path()
        return respond(discovery.resource_list(kinds))

    def _openapi(self, rest: str) -> web.StreamResponse:
        kinds = list(self.state.catalog)
        crds = self.state.objects(CRD)
        if not rest:
            return respond(openapi.index(kinds, crds))
        group_version = rest.removeprefix("apis/") if rest.startswith("apis/") else rest.removeprefix("api/")
        try:
            return respond_bytes(openapi.document(group_version, kinds, crds))
        except KeyError:
            raise no_such_path() from None
