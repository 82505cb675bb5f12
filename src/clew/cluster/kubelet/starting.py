"""Starting one container of a pod: image, environment, mounts, the runtime's specification, the run itself."""

import secrets
from collections.abc import Mapping

from clew.api.objects import Object
from clew.cluster.images import Image
from clew.cluster.kubelet import resolv, volumes
from clew.cluster.kubelet.container_spec import Made, container_spec
from clew.cluster.kubelet.env import ConfigError, Environment, command, expand, references
from clew.cluster.kubelet.instances import Instance, Sandbox, instance_of, pod_labels
from clew.cluster.kubelet.objects import text_data
from clew.cluster.kubelet.plan import Container, changes
from clew.cluster.kubelet.surroundings import Surroundings
from clew.cluster.kubelet.users import Accounts, user_of
from clew.cluster.kubelet.volumes import PODS
from clew.cluster.runtime.oci import Mount, available_capabilities, config

LOGS = "/var/log/pods"
LINKS = "/var/log/containers"
MESSAGE_PATH = "/dev/termination-log"
_SHARED_MEMORY = 64 << 20


class StartRequest:
    """One start, with what the pod's worker knows: `pod` has its addresses in its status already."""

    def __init__(self, pod: Object, container: Container, sandbox: Sandbox, attempt: int, target_pid: int = 0) -> None:
        self.pod = pod
        self.container = container
        self.sandbox = sandbox
        self.attempt = attempt
        self.target_pid = target_pid

    @property
    def uid(self) -> str:
        return str(self.pod["metadata"]["uid"])

    @property
    def folder(self) -> str:
        return f"{PODS}/{self.uid}"

    @property
    def message_file(self) -> str:
        """Where the container's termination message is written, on the node."""
        return message_file(self.uid, self.container.name, self.attempt)


def message_file(uid: str, container: str, attempt: int) -> str:
    return f"{PODS}/{uid}/containers/{container}/{attempt}"


def log_folder(pod: Mapping[str, str]) -> str:
    """Of a pod, by its labels."""
    return f"{LOGS}/{pod['namespace']}_{pod['pod']}_{pod['uid']}"


class Starter:
    """All containers of one node."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._accounts: dict[str, Accounts] = {}

    async def start(self, request: StartRequest, image: Image, group: str) -> Instance:
        """Run it. ConfigError when the pod asks for what is not there, NodeError when the runtime refuses."""
        pod, container = request.pod, request.container.spec
        known = await self._environment(request, image)
        args = command(container, image, known)
        if not args:
            raise ConfigError("no command specified")
        identity = secrets.token_hex(32)
        made = Made(
            args=args,
            env=tuple(f"{name}={value}" for name, value in known.items()),
            user=user_of(pod, container, image, self._image_accounts(image)),
            mounts=(*_image_mounts(image), *await self._volume_mounts(request, known), *await self._files(request)),
            group=f"{group}/{identity}",
            shared_memory=await self._shared_memory(request),
            target_pid=request.target_pid,
        )
        spec = container_spec(pod, container, image, request.sandbox, made)
        labels = pod_labels(pod)
        asked = {
            "id": identity, "sandbox": request.sandbox.id, "group": made.group, "lowers": list(image.lowers),
            "labels": labels | {
                "container": request.container.name, "attempt": str(request.attempt), "image": container["image"],
                "image_id": image.id, "spec": changes(container),
                "stop_signal": (container.get("lifecycle") or {}).get("stopSignal") or image.stop_signal,
            },
            "config": config(spec, available_capabilities()),
            "log": f"{log_folder(labels)}/{request.container.name}/{request.attempt}.log",
            "log_link": f"{LINKS}/{labels['pod']}_{labels['namespace']}_{request.container.name}-{identity}.log",
            "stdin": bool(container.get("stdin")), "stdin_once": bool(container.get("stdinOnce")), "tty": spec.tty,
            "shared_mounts": any(mount.propagation == "shared" for mount in spec.mounts),
        }  # fmt: skip
        answer = await self._around.handle.ask("run", container=asked)
        return instance_of(answer["record"])

    # Parts of it.

    def _image_accounts(self, image: Image) -> Accounts:
        found = self._accounts.get(image.id)
        if found is None:
            found = self._accounts[image.id] = Accounts.of(image.lowers)
        return found

    async def _environment(self, request: StartRequest, image: Image) -> dict[str, str]:
        pod, container, around = request.pod, request.container.spec, self._around
        space = pod["metadata"]["namespace"]
        data: dict[tuple[str, str], Mapping[str, str] | None] = {}
        for kind, name in references(container):
            found = await around.objects.get(kind, space, name)
            data[kind, name] = None if found is None else text_data(kind, found)
        await around.services.known.wait()
        services = around.services.environment(space, enabled=pod["spec"].get("enableServiceLinks") is not False)
        if around.config.service_host:
            services.setdefault("KUBERNETES_SERVICE_HOST", around.config.service_host)
            services.setdefault("KUBERNETES_SERVICE_PORT", str(around.config.service_port))
        builder = Environment(pod, container, lambda kind, name: data.get((kind, name)), around.allocatable)
        return builder.build(image, services, resolv.hostname(pod, around.config))

    async def _volume_mounts(self, request: StartRequest, known: Mapping[str, str]) -> list[Mount]:
        pod = request.pod
        by_name = {each["name"]: each for each in pod["spec"].get("volumes") or ()}
        made = []
        for position, wanted in enumerate(request.container.spec.get("volumeMounts") or ()):
            volume = by_name[wanted["name"]]
            source = volumes.place(request.uid, volume)
            name = wanted.get("subPath") or expand(wanted.get("subPathExpr") or "", known)
            if name:
                target = f"{request.folder}/volume-subpaths/{wanted['name']}/{request.container.name}/{position}"
                await self._around.handle.ask("sub_path", volume=source, name=name, place=target)
                source = target
            made.append(
                Mount(
                    source,
                    wanted["mountPath"],
                    bool(wanted.get("readOnly")) or volumes.kind_of(volume) in volumes.FILES,
                    {"HostToContainer": "slave", "Bidirectional": "shared"}.get(  # type: ignore[arg-type]
                        wanted.get("mountPropagation") or "", "private"
                    ),
                )
            )
        return made

    async def _files(self, request: StartRequest) -> list[Mount]:
        """The files the kubelet manages in every container, unless the pod mounts something in their place."""
        pod, around = request.pod, self._around
        addresses = tuple(each["ip"] for each in (pod.get("status") or {}).get("podIPs") or ())
        texts = {
            "/etc/hosts": resolv.hosts(pod, around.config, addresses),
            "/etc/hostname": resolv.hostname(pod, around.config) + "\n",
            "/etc/resolv.conf": resolv.resolv_conf(pod, around.config),
        }
        taken = {each["mountPath"].rstrip("/") for each in request.container.spec.get("volumeMounts") or ()}
        made = []
        for target, text in texts.items():
            if target not in taken:
                source = f"{request.folder}{target}"
                await around.handle.ask("file", path=source, text=text, mode=0o644)
                made.append(Mount(source, target))
        await around.handle.ask("file", path=request.message_file, text="", mode=0o666)
        made.append(Mount(request.message_file, request.container.spec.get("terminationMessagePath") or MESSAGE_PATH))
        return made

    async def _shared_memory(self, request: StartRequest) -> str:
        """The pod's /dev/shm, where more than one container can share it."""
        spec = request.pod["spec"]
        if spec.get("hostIPC"):
            return "/dev/shm"  # noqa: S108 - the node's own, as asked for
        if len(spec["containers"]) + len(spec.get("initContainers") or ()) < 2:
            return ""
        path = f"{request.folder}/shm"
        await self._around.handle.ask("folder", path=path, mode=0o1777, group=None, memory=_SHARED_MEMORY)
        return path


def _image_mounts(image: Image) -> list[Mount]:
    return [Mount(bind.source, bind.target, read_only=True) for bind in image.binds]
