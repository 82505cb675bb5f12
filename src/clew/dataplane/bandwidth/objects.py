"""What limits a pod's rates, in the kernel's words; and the marks by which it is known again."""

from clew.base.value import Value

IFB_GROUP = 149  # of every link that pods' outgoing packets pass; `ip link show group 149`
PRIORITY = 60000  # of the redirection: after whatever else looks at the pod's packets
LARGEST = 2**32 - 1  # bytes that the kernel's field of a limit holds


def waiting(rate: int) -> int:
    """Bytes that may wait beside the burst: a fortieth of a second's."""
    return min(rate // 40, LARGEST // 2)


class Bucket(Value):
    """tbf's, as a dump shows it."""

    rate: int  # bytes a second
    limit: int  # bytes: the burst, and what may wait

    @property
    def burst(self) -> int:
        """Bytes that pass at once."""
        return self.limit - waiting(self.rate)


class Shape(Value):
    """The limits at the host's end of one pod's pair; None where there is none."""

    link: str
    to_pod: Bucket | None
    from_pod: Bucket | None
    mtu: int

    @property
    def ifb(self) -> str:
        """`veth1f0c…` -> `ifb1f0c…`."""
        return "ifb" + self.link.removeprefix("veth")
