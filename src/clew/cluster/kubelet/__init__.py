"""One kubelet a node: makes what runs on the node equal to the pods that are bound to it, and says how they are.

It lives in the lab's daemon and acts through the node's supervisor; it talks to the API server over HTTPS.
"""

from clew.cluster.kubelet.config import KubeletConfig
from clew.cluster.kubelet.kubelet import Kubelet
from clew.cluster.kubelet.streams import KubeletStreams

__all__ = ["Kubelet", "KubeletConfig", "KubeletStreams"]
