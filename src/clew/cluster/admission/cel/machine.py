"""The CEL library, made to measure: environments that know Kubernetes' functions and the types of a schema.

The library is `cel_expr_python`, Google's own runtime of CEL. Loading it costs 35 ms and 13 MB, so it is imported when
the first definition with rules is there and not before (`clew.cluster.admission.cel`).

Two kinds of environment. One for each type of `self` tells what is wrong with a rule; it runs nothing. One of all runs
rules on maps: what the first has found right needs no types any more.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2

from clew.api.objects import Object
from clew.cluster.admission.cel.functions import FUNCTIONS, Function, OverBudgetError
from clew.cluster.admission.cel.functions.function import OWN_TYPES
from clew.cluster.admission.cel.types import DEPENDENCIES, CelType, Messages

CALLS_OF_A_RULE = 10_000  # of the library's functions, 3 us each; loops end by themselves after as many rounds
_EXTENSIONS = (
    {"name": "optional"}, {"name": "strings", "version": 2}, {"name": "sets"}, {"name": "two-var-comprehensions"},
)  # fmt: skip
_TYPE = re.compile(r"(list|map)\((.*)\)")
_PLAIN = {
    "int": cel.Type.INT, "uint": cel.Type.UINT, "double": cel.Type.DOUBLE, "bool": cel.Type.BOOL,
    "string": cel.Type.STRING, "bytes": cel.Type.BYTES, "dyn": cel.Type.DYN, "timestamp": cel.Type.TIMESTAMP,
    "duration": cel.Type.DURATION,
}  # fmt: skip


class Work:
    """How often rules have called the library; one for all, as there is one thread that runs rules."""

    calls = 0

    @classmethod
    def count(cls) -> None:
        cls.calls += 1
        if cls.calls > CALLS_OF_A_RULE:
            raise OverBudgetError("operation cancelled: actual cost limit exceeded")


def checking(messages: Messages, kind: CelType, old: CelType | None) -> "cel.Env":
    """Where rules on `self` of a type are compiled, with `oldSelf` where a type is given for it."""
    variables = [{"name": "self", **kind.written()}]
    if old is not None:
        variables.append({"name": "oldSelf", **old.written()})
    return _environment(_pool(messages), variables, _EXTENSIONS, _extension(runs=False))


def optional(kind: CelType) -> CelType:
    return CelType("optional_type", (kind,))


def program(text: str) -> "cel.Expression":
    """What runs: on any `self` and `oldSelf`, and without types, as the checker has found them right."""
    return running().compile(text, disable_check=True)


@functools.cache
def running() -> "cel.Env":
    """Where rules are run."""
    variables = [{"name": name, "type_name": "dyn"} for name in ("self", "oldSelf")]
    made = _environment(_library_pool(), variables, (*_EXTENSIONS, {"name": "bindings"}), _extension(runs=True))
    made.compile("true", disable_check=True).eval()  # what rules run on is made now, by the thread that compiles
    return made


def _environment(pool: Any, variables: list[Object], extensions: Any, functions: Any) -> "cel.Env":
    written = msgspec.json.encode({"extensions": list(extensions), "variables": variables}).decode()
    return cel.NewEnv(pool, config=cel.NewEnvConfigFromYaml(written), extensions=[functions])


def _pool(messages: Messages | None) -> descriptor_pool.DescriptorPool:
    """What the checker knows of types: the library's own, and those of one schema."""
    pool = descriptor_pool.DescriptorPool()
    for known in DEPENDENCIES:
        pool.AddSerializedFile(known.serialized_pb)
    for package in sorted({name.partition(".")[0] for name in OWN_TYPES}):
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        for name in OWN_TYPES:
            if name.startswith(f"{package}."):
                field = file.message_type.add(name=name.partition(".")[2]).field.add(name="text", number=1)
                field.type, field.label = field.TYPE_STRING, field.LABEL_OPTIONAL
        pool.AddSerializedFile(file.SerializeToString())
    if messages is not None:
        pool.AddSerializedFile(messages.file.SerializeToString())
    return pool


@functools.cache
def _library_pool() -> descriptor_pool.DescriptorPool:
    return _pool(None)


@functools.cache
def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_library_pool().FindMessageTypeByName(name))


@functools.cache
def _type(name: str) -> "cel.Type":
    if name in _PLAIN:
        return _PLAIN[name]
    found = _TYPE.fullmatch(name)
    if found is None:
        return cel.Type(name)
    if found[1] == "list":
        return cel.Type.List(_type(found[2]))
    key, _, value = found[2].partition(", ")
    return cel.Type.Map(_type(key), _type(value))


@functools.cache
def _extension(*, runs: bool) -> "cel.CelExtension":
    """All functions: with their types for the checker; for the runtime one for all that it cannot tell apart."""
    overloads: dict[str, dict[str, list[Function]]] = {}
    for function in FUNCTIONS:
        takes = map(_erased, function.takes) if runs else function.takes
        name = f"k8s.{function.name}({','.join(takes)}){'.' if function.member else ''}"
        overloads.setdefault(function.name, {}).setdefault(name, []).append(function)
    told = [
        cel.FunctionDecl(name, [_overload(title, alike, runs=runs) for title, alike in each.items()])
        for name, each in overloads.items()
    ]
    return cel.CelExtension("kubernetes", told if runs else [*told, *_comparisons()])


def _comparisons() -> Iterator["cel.FunctionDecl"]:
    """Numbers of unlike types compare in Kubernetes; the runtime does it anyway, the checker has to be told."""
    for sign, name in (("<", "less"), ("<=", "less_equals"), (">", "greater"), (">=", "greater_equals")):
        overloads = [
            cel.Overload(f"k8s.{name}_{one}_{other}", return_type=_type("bool"), parameters=[_type(one), _type(other)])
            for one, other in itertools.permutations(("int", "uint", "double"), 2)
        ]
        yield cel.FunctionDecl(f"_{sign}_", overloads)


def _erased(name: str) -> str:
    """What the runtime sees of a type: a list of something, a message of some name."""
    return "list(dyn)" if name.startswith("list(") else "message" if name in OWN_TYPES else name


def _overload(title: str, alike: list[Function], *, runs: bool) -> "cel.Overload":
    function = alike[0]
    return cel.Overload(
        title, return_type=_type("dyn" if runs else function.gives), is_member=function.member,
        parameters=[_type(each) for each in function.takes], impl=_working(alike),
    )  # fmt: skip


def _working(alike: list[Function]) -> Callable[..., Any]:
    """Functions as the runtime calls them: texts inside types of Kubernetes' own, moments, and a count of calls."""
    by_types = {_own_types(each.takes): each for each in reversed(alike)}

    def work(*given: Any) -> Any:
        Work.count()
        plain, types = [], []
        for each in given:
            own = getattr(each, "DESCRIPTOR", None)
            plain.append(each.text if own else each)
            types.append(own.full_name if own else "")
        function = by_types.get(tuple(types))
        if function is None:
            raise ValueError(f"no such overload: {alike[0].name}")
        result = function.work(*plain)
        return _message(function.gives)(text=result) if function.gives in OWN_TYPES else _sent(result)

    return work


def _own_types(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name if name in OWN_TYPES else "" for name in names)


def _sent(value: Any) -> Any:
    if isinstance(value, datetime):
        moment = timestamp_pb2.Timestamp()
        moment.FromDatetime(value)
        return moment
    if isinstance(value, timedelta):
        span = duration_pb2.Duration()
        span.FromTimedelta(value)
        return span
    return value
