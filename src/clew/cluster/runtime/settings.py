"""What a node is told when it is switched on: its names and its resolver."""

from clew.base.value import Value


class NodeSettings(Value):
    """`nameservers` go into the node's /etc/resolv.conf, `hosts` (address, names) into its /etc/hosts."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()

    def files(self, node: str) -> dict[str, str]:
        """The files of the node's /etc that are its own, by path."""
        resolver = "".join(f"nameserver {address}\n" for address in self.nameservers)
        if self.search:
            resolver += f"search {' '.join(self.search)}\n"
        hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        hosts += "".join(f"{address}\t{names}\n" for address, names in self.hosts)
        return {"/etc/hostname": f"{node}\n", "/etc/resolv.conf": resolver, "/etc/hosts": hosts}
