"""The lab's certificate authority: certificates, the service accounts' signing key, TLS contexts.

Knows no Kubernetes object and opens no socket; called by the lab's composition, once a start.
"""

from clew.cluster.ca.authority import Authority
from clew.cluster.ca.certificates import Credential
from clew.cluster.ca.tls import client_tls, server_tls

__all__ = ["Authority", "Credential", "client_tls", "server_tls"]
