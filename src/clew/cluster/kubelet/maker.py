"""The making of a pod's containers: folders, volumes, configuration objects, environment, mounts, the OCI request."""

import asyncio
import base64
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew.api.kinds import CONFIG_MAP, SECRET, SERVICE_ACCOUNT
from clew.api.objects import Object
from clew.api.quantity import parse
from clew.cluster.images.image import Image
from clew.cluster.kubelet import resolv, volumes
from clew.cluster.kubelet.env import ConfigError, command, environment
from clew.cluster.oci.capabilities import available
from clew.cluster.oci.spec import ContainerSpec, Mount, run_request
from clew.watch.errors import ApiError

if TYPE_CHECKING:
    from clew.cluster.kubelet.containers import ContainerUnit
    from clew.cluster.kubelet.kubelet import Kubelet
    from clew.cluster.kubelet.worker import PodWorker

_MESSAGE_MOST = 4096  # bytes of a termination message
_TOKEN_SHARE = 0.8  # of a token's life after which it is renewed


class ContainerMaker:
    """What all containers of a pod share: folders, volumes, configuration objects."""

    def __init__(self, kubelet: "Kubelet", worker: "PodWorker") -> None:
        self.kubelet = kubelet
        self.worker = worker
        self._objects: dict[tuple[str, str], Object | None] = {}
        self._tokens: dict[str, float] = {}

    @property
    def ours(self) -> Path:
        """The pod's folder as we see it."""
        return self.worker.sandbox.folder

    @property
    def theirs(self) -> str:
        """The same as the node sees it."""
        return f"/var/lib/kubelet/pods/{self.worker.sandbox.uid}"

    async def prepare(self) -> None:
        """Volumes and managed files; ConfigError where an object that is needed is not there yet."""
        pod = self.worker.pod
        self._objects.clear()
        pod_now = {**pod, "status": {**(pod.get("status") or {}), **self._addresses()}}
        (self.ours / "etc").mkdir(parents=True, exist_ok=True)
        config, ips = self.kubelet.config, self.worker.sandbox.ips
        (self.ours / "etc/resolv.conf").write_text(resolv.resolv_conf(pod, config))
        (self.ours / "etc/hosts").write_text(resolv.hosts(pod, config, ips))
        (self.ours / "etc/hostname").write_text(resolv.hostname(pod, config) + "\n")
        for volume in pod["spec"].get("volumes") or ():
            await self._volume(volume, pod_now)

    def _addresses(self) -> Object:
        ips = self.worker.sandbox.ips
        hosts = self.kubelet.config.addresses
        return {"podIP": ips[0] if ips else "", "podIPs": [{"ip": ip} for ip in ips], "hostIP": hosts[0]}

    async def _volume(self, volume: Object, pod: Object) -> None:
        folder = self.ours / "volumes" / volume["name"]
        if "emptyDir" in volume:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
        elif "hostPath" in volume:
            if volume["hostPath"].get("type") in {"DirectoryOrCreate", ""}:
                await self.kubelet.handle.program(["mkdir", "-p", volume["hostPath"]["path"]])
        else:
            source = volume.get("projected") or {"sources": [_as_source(volume)]}
            files: volumes.Files = {}
            for each in source.get("sources") or ():
                files |= await self._files(volume["name"], each, pod)
            volumes.write_files(folder, files, source.get("defaultMode") or 0o644)

    async def _files(self, volume: str, source: Object, pod: Object) -> volumes.Files:
        if source.get("downwardAPI"):
            return volumes.downward_files(pod, source["downwardAPI"].get("items") or [])
        if source.get("serviceAccountToken"):
            return await self._token(volume, source["serviceAccountToken"])
        for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            if source.get(field):
                reference = source[field]
                name = reference.get("name") or reference.get("secretName")
                obj = await self._object(kind, name)
                optional = bool(reference.get("optional"))
                if obj is None:
                    if optional:
                        return {}
                    self.worker.event(
                        "Warning",
                        "FailedMount",
                        f'MountVolume.SetUp failed for volume "{volume}" : {kind.lower()} "{name}" not found',
                    )
                    raise ConfigError(f'{kind.lower()} "{name}" not found')
                files = volumes.config_map_files(obj) if kind == "ConfigMap" else volumes.secret_files(obj)
                return volumes.chosen(files, reference.get("items"), f"{kind.lower()} {name}", optional=optional)
        return {}

    async def _token(self, volume: str, source: Object) -> volumes.Files:
        path = source.get("path", "token")
        now = asyncio.get_running_loop().time()
        existing = self.ours / "volumes" / volume / path
        if existing.exists() and self._tokens.get(volume, now + 1 if volume not in self._tokens else 0) > now:
            return {path: existing.read_bytes()}
        seconds = source.get("expirationSeconds") or 3600
        pod = self.worker.pod
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
            "spec": {
                "audiences": [source["audience"]] if source.get("audience") else [],
                "expirationSeconds": seconds, "boundObjectRef": bound,
            },
        }  # fmt: skip
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self.kubelet.client.create(
            SERVICE_ACCOUNT, request, pod["metadata"]["namespace"], "token", account
        )
        self._tokens[volume] = now + seconds * _TOKEN_SHARE
        asyncio.get_running_loop().call_later(seconds * _TOKEN_SHARE + 1, self.worker.wake)
        return {path: answer["status"]["token"].encode()}

    async def _object(self, kind: str, name: str) -> Object | None:
        key = (kind, name)
        if key not in self._objects:
            namespace = self.worker.pod["metadata"]["namespace"]
            try:
                self._objects[key] = await self.kubelet.client.get(
                    CONFIG_MAP if kind == "ConfigMap" else SECRET, name, namespace
                )
            except ApiError as error:
                if not error.not_found:
                    raise
                self._objects[key] = None
        return self._objects[key]

    async def request(self, unit: "ContainerUnit", image: Image) -> dict[str, Any]:
        """What to ask the supervisor for a new instance."""
        pod, container, sandbox = self.worker.pod, unit.container, self.worker.sandbox
        name = f"{sandbox.uid}-{unit.name}-{unit.attempts}"
        env = await self._environment(container, image)
        context = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
        uid, gid = _user(context, image)
        limits = (container.get("resources") or {}).get("limits") or {}
        requests = (container.get("resources") or {}).get("requests") or {}
        added = (context.get("capabilities") or {}).get("add") or []
        dropped = (context.get("capabilities") or {}).get("drop") or []
        unit.spec = ContainerSpec(
            command(container, image, env), tuple(f"{key}={value}" for key, value in env.items()),
            container.get("workingDir") or image.working_dir or "/", f"{sandbox.cgroup}/{name}", available(),
            mounts=tuple(self._mounts(unit, image)), uid=uid, gid=gid,
            groups=_groups(context),
            tty=bool(container.get("tty")), network=sandbox.netns, pause_pid=sandbox.pid,
            share_pid=bool(pod["spec"].get("shareProcessNamespace")), privileged=bool(context.get("privileged")),
            add=tuple(f"CAP_{each}" for each in added), drop=tuple(f"CAP_{each}" for each in dropped),
            no_new_privileges=context.get("allowPrivilegeEscalation") is False,
            read_only_root=bool(context.get("readOnlyRootFilesystem")),
            seccomp=(context.get("seccompProfile") or {}).get("type") != "Unconfined",
            cpu_shares=max(2, int(parse(requests["cpu"]) * 1024)) if "cpu" in requests else 0,
            cpu_quota=max(1000, int(parse(limits["cpu"]) * 100_000)) if "cpu" in limits else 0,
            memory=int(parse(limits["memory"])) if "memory" in limits else 0,
        )  # fmt: skip
        if context.get("runAsNonRoot") and not uid:
            raise ConfigError(f"container has runAsNonRoot and image will run as root (container: {unit.name})")
        meta = pod["metadata"]
        log = f"/var/log/pods/{meta['namespace']}_{meta['name']}_{sandbox.uid}/{unit.name}/{unit.attempts}.log"
        labels = {
            "uid": sandbox.uid, "container": unit.name, "attempt": str(unit.attempts), "role": "container",
            "namespace": meta["namespace"], "pod": meta["name"], "image": image.id,
        }  # fmt: skip
        return run_request(name, unit.spec, image.lowers, labels, log, stdin=bool(container.get("stdin")))

    async def _environment(self, container: Object, image: Image) -> dict[str, str]:
        references = [
            (kind, (each.get(f"{field}Ref") or {}).get("name"))
            for each in container.get("envFrom") or ()
            for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret"))
        ] + [
            (kind, ((each.get("valueFrom") or {}).get(f"{field}KeyRef") or {}).get("name"))
            for each in container.get("env") or ()
            for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret"))
        ]
        for kind, name in references:
            if name:
                await self._object(kind, name)

        def lookup(kind: str, name: str) -> dict[str, str] | None:
            obj = self._objects.get((kind, name))
            if obj is None:
                return None
            data = obj.get("data") or {}
            if kind == "Secret":
                return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
            return dict(data)

        pod, config = self.worker.pod, self.kubelet.config
        pod = {**pod, "status": {**(pod.get("status") or {}), **self._addresses()}}
        base = {"HOSTNAME": resolv.hostname(pod, config)}
        if config.service_host:
            base |= _service_variables(config.service_host, config.service_port)
        return environment(pod, container, image, base, lookup)

    def _mounts(self, unit: "ContainerUnit", image: Image) -> list[Mount]:
        pod = self.worker.pod
        made = [Mount(bind.source, bind.target, "bind", ("rbind", "rprivate", "ro")) for bind in image.binds]
        places: dict[str, tuple[str, bool]] = {}
        ours: dict[str, Path] = {}
        for volume in pod["spec"].get("volumes") or ():
            name = volume["name"]
            if "hostPath" in volume:
                kind = volume["hostPath"].get("type") or ""
                places[name] = (volume["hostPath"]["path"], kind in {"File", "FileOrCreate", "Socket"})
            else:
                places[name] = (f"{self.theirs}/volumes/{name}", False)
                ours[name] = self.ours / "volumes" / name
        made += volumes.mounts(unit.container, places, ours)
        taken = {mount.target for mount in made}
        for name in ("resolv.conf", "hosts", "hostname"):
            if f"/etc/{name}" not in taken:
                made.append(Mount(f"{self.theirs}/etc/{name}", f"/etc/{name}", is_file=True))
        message = self.ours / "messages" / unit.name
        message.parent.mkdir(exist_ok=True)
        message.write_bytes(b"")
        message.chmod(0o666)
        path = unit.container.get("terminationMessagePath") or "/dev/termination-log"
        made.append(Mount(f"{self.theirs}/messages/{unit.name}", path, is_file=True))
        return made

    def termination_message(self, unit: "ContainerUnit") -> str:
        try:
            return (self.ours / "messages" / unit.name).read_bytes()[:_MESSAGE_MOST].decode(errors="replace")
        except OSError:
            return ""

    def clean(self) -> None:
        shutil.rmtree(self.ours, ignore_errors=True)


def _as_source(volume: Object) -> Object:
    """A plain volume as one source of a projection."""
    return {key: volume[key] for key in ("configMap", "secret", "downwardAPI") if key in volume}


def _service_variables(host: str, port: int) -> dict[str, str]:
    """The variables by which programs in pods find the API server."""
    url = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    return {
        "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
        "KUBERNETES_PORT": url, f"KUBERNETES_PORT_{port}_TCP": url, f"KUBERNETES_PORT_{port}_TCP_PROTO": "tcp",
        f"KUBERNETES_PORT_{port}_TCP_PORT": str(port), f"KUBERNETES_PORT_{port}_TCP_ADDR": host,
    }  # fmt: skip


def _groups(context: Object) -> tuple[int, ...]:
    own = [context["fsGroup"]] if context.get("fsGroup") else []
    return (*(context.get("supplementalGroups") or ()), *own)


def _user(context: Object, image: Image) -> tuple[int, int]:
    """The user and group of the spec, else the image's numeric user; a name means root here."""
    user, _, group = image.user.partition(":")
    uid = context.get("runAsUser", int(user) if user.isdecimal() else 0)
    gid = context.get("runAsGroup", int(group) if group.isdecimal() else 0)
    return int(uid), int(gid)
