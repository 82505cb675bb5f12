"""What of its configuration an agent reads at its start only, so that a change of it needs another start.

The rest (`network`, `mtu`, `masquerade`, `clusterCIDRs`) is followed while it runs, by agent_network. The manifests put
the digest into the DaemonSet's template: whoever applies another configuration has the agents begun anew, node by node,
exactly where that is needed. Pure.
"""

import hashlib
from typing import Any

import msgspec

from clew.app import kube_proxy_defaults
from clew.app.agent_config import AgentConfiguration, Configuration

_FOLLOWED = ("network", "mtu", "masquerade", "cluster_cidrs")
_ASKED_ONCE = ("ipam", "bird")  # of `network`: where addresses come from, and whose BIRD it is


def read_at_start(found: Configuration) -> dict[str, Any]:
    """By the fields' paths; of the service proxy's part what it means, however much of it is written out."""
    agent = found.agent
    fields = {name: getattr(agent, name) for name in AgentConfiguration.__struct_fields__ if name not in _FOLLOWED}
    fields |= {f"network.{name}": getattr(agent.network, name) for name in _ASKED_ONCE}
    return {**fields, "KubeProxyConfiguration": kube_proxy_defaults.complete(found.proxy)}


def digest(found: Configuration) -> str:
    """The same for configurations that an agent starts alike with."""
    return hashlib.sha256(msgspec.json.encode(read_at_start(found))).hexdigest()[:16]
