"""All controllers of the lab in one TaskGroup: what kube-controller-manager is to a cluster. Called by app/lab.

They share one identity, one set of caches and one clock. They start when every cache is in, so that nothing is
decided on half a view. A key that fails is logged and tried again; it never stops another.
"""

import asyncio
import logging
from collections.abc import Callable

from clew.base.clock import Clock
from clew.cluster.controllers.context import Context, Controller, ControllerOptions
from clew.cluster.controllers.daemonset import DaemonSetController
from clew.cluster.controllers.deployment import DeploymentController
from clew.cluster.controllers.endpoints import (
    EndpointsController,
    EndpointSliceController,
    EndpointSliceMirroringController,
)
from clew.cluster.controllers.garbage import GarbageController
from clew.cluster.controllers.namespaces import NamespaceController
from clew.cluster.controllers.nodes import (
    NodeIpamController,
    NodeLifecycleController,
    PodGarbageController,
    TaintEvictionController,
)
from clew.cluster.controllers.replicaset import ReplicaSetController
from clew.cluster.controllers.root_ca import RootCaController
from clew.cluster.controllers.service_accounts import ServiceAccountController
from clew.watch.client import Client

logger = logging.getLogger(__name__)

IDENTITY = "kube-controller-manager"
CONTROLLERS: tuple[Callable[[Context], Controller], ...] = (
    ServiceAccountController,
    RootCaController,
    NodeIpamController,
    NodeLifecycleController,
    TaintEvictionController,
    DaemonSetController,
    ReplicaSetController,
    DeploymentController,
    EndpointSliceController,
    EndpointsController,
    EndpointSliceMirroringController,
    NamespaceController,
    PodGarbageController,
)


async def run_controllers(
    client_for: Callable[[str], Client], options: ControllerOptions, clock: Clock | None = None
) -> None:
    """For ever. `client_for` gives the client of a component's own identity; it is closed here."""
    async with client_for(IDENTITY) as client:
        context = Context(client, options, clock)
        controllers = [make(context) for make in CONTROLLERS]
        garbage = GarbageController(context)  # last: it follows the caches that the others have asked for
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(context.run())
            tasks.create_task(garbage.watcher.run())
            await context.informers.wait_synced()
            logger.info("controllers run")
            for each in (*controllers, garbage):
                tasks.create_task(each.queue.run(each.reconcile, each.workers), name=each.queue.name)
