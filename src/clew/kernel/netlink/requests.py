"""What can be asked of rtnetlink: a request is a value, a batch a sequence of them, carried out in order."""

from clew.base.value import Value
from clew.kernel.netlink.values import Thing


class Add(Value):
    """Make it; EEXIST where it is already, unless `replace` (routes, addresses, neighbours, forwarding entries)."""

    thing: Thing
    replace: bool = False

    def __str__(self) -> str:
        return f"add {describe(self.thing)}"


class Delete(Value):
    """Remove it; only what identifies the thing is looked at (of a link the name, or else the index)."""

    thing: Thing

    def __str__(self) -> str:
        return f"delete {describe(self.thing)}"


class DeleteGroup(Value):
    """Remove every link of a group (not 0) at once: hundreds in a tenth of a second, where one by one takes seconds."""

    group: int

    def __str__(self) -> str:
        return f"delete links of group {self.group}"


class SetLink(Value):
    """Change a link; None leaves a property alone. `master` empty releases it."""

    name: str
    up: bool | None = None
    mtu: int | None = None
    mac: str | None = None
    master: str | None = None
    group: int | None = None
    alias: str | None = None
    rename: str | None = None
    ns: int | None = None  # file descriptor of the namespace to move it to
    altname: str | None = None  # one more name
    hairpin: bool | None = None  # of a bridge's port: send back where it came from
    isolated: bool | None = None  # of a bridge's port: no traffic between isolated ports

    def __str__(self) -> str:
        fields = ("up", "mtu", "mac", "master", "group", "alias", "rename", "ns", "altname", "hairpin", "isolated")
        said = ((field, getattr(self, field)) for field in fields)
        return f"set link {self.name} " + " ".join(f"{field}={value}" for field, value in said if value is not None)


Request = Add | Delete | DeleteGroup | SetLink


def describe(thing: Value) -> str:
    """`route 10.0.0.0/8 via=10.9.9.9`: the kind, the first field, and what is not left at its default."""
    fields = thing.__struct_fields__
    defaults = thing.__struct_defaults__
    optional = dict(zip(fields[len(fields) - len(defaults) :], defaults, strict=True))
    said = [name for name in fields if getattr(thing, name) != optional.get(name, ...)]
    words = [type(thing).__name__.lower()]
    words += [_word(name, getattr(thing, name), bare=name == fields[0]) for name in said]
    return " ".join(words)


def _word(name: str, value: object, *, bare: bool) -> str:
    text = f"({describe(value)})" if isinstance(value, Value) else str(value)
    return text if bare else f"{name}={text}"
