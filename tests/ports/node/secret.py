"""The Secret with the keys of ipsec, and where a node stands with them: for the tests between agents."""

import base64
from typing import Any

KEYS = f"3 rfc4106(gcm(aes)) {bytes(range(20)).hex()} 128\n"


def give(lab: Any, keys: str) -> None:
    """Make it, or put these in place of those that are there."""
    data = {"keys": base64.b64encode(keys.encode()).decode()}
    lab.api.put("secrets", "clew-ipsec-keys", {"metadata": {"namespace": "kube-system"}, "data": data})


def stands(node: Any, tools: Any, *keys: str) -> None:
    """Until the node has told that it receives these keys, by their IDs."""

    def told() -> bool:
        said = node.lab.api.annotations(node.name).get("clew.dev/ipsec", "")
        return [token.partition(":")[0] for token in said.split()[1:]] == list(keys)

    tools.eventually(told, f"{node.name} receives {keys}")
