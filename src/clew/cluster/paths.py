"""Where a lab keeps its things; the only places on the machine that Clew writes to, besides the kubeconfig."""

import re
from pathlib import Path

from clew.base.errors import UserError
from clew.base.value import Value

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,38}[A-Za-z0-9])?")


class LabPaths(Value):
    """The folders of one lab; `clew down` removes all three roots, so a name that would lead elsewhere is refused."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UserError(f"a lab cannot be called {self.name!r}", "use letters, digits and hyphens, at most 40")

    @property
    def state(self) -> Path:
        return Path("/var/lib/clew", self.name)

    @property
    def run(self) -> Path:
        return Path("/run/clew", self.name)

    @property
    def log(self) -> Path:
        return Path("/var/log/clew", self.name)

    @property
    def database(self) -> Path:
        return self.state / "state.db"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def netns_dir(self) -> Path:
        """Pinned network namespaces: `fabric`, `outside`, one a node."""
        return self.run / "netns"

    def netns(self, host: str) -> Path:
        return self.netns_dir / host

    def node_tree(self, node: str) -> Path:
        """The node's own disk: supplies its /etc/cni /opt/cni /run /var/lib /var/log."""
        return self.state / "nodes" / node

    def node_run(self, node: str) -> Path:
        """The supervisor's socket, pid file and exit records."""
        return self.run / "nodes" / node

    def node_socket(self, node: str) -> Path:
        return self.node_run(node) / "supervisor.sock"
