"""Counters, gauges and histograms in the Prometheus text format (exposition format 0.0.4). No server, no clock."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from clew.base.value import Value

Labels = tuple[str, ...]
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


class Metric:
    """A family of numbers told apart by label values."""

    kind = "untyped"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.text = text
        self.labels = tuple(labels)

    def _series(self, name: str, values: Labels, number: float, extra: str = "") -> str:
        pairs = [f'{label}="{_escape(value)}"' for label, value in zip(self.labels, values, strict=True)]
        inside = ",".join([*pairs, extra] if extra else pairs)
        return f"{name}{{{inside}}} {_number(number)}" if inside else f"{name} {_number(number)}"

    def samples(self) -> list[str]:
        raise NotImplementedError(type(self))

    def render(self) -> list[str]:
        return [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} {self.kind}", *self.samples()]


class Counter(Metric):
    kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        self.values[labels] = self.values.get(labels, 0.0) + by

    def samples(self) -> list[str]:
        return [self._series(self.name, labels, value) for labels, value in sorted(self.values.items())]


class Gauge(Counter):
    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        self.values[labels] = value


class Histogram(Metric):
    """Cumulative buckets in the unit of the name, usually seconds."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS) -> None:
        super().__init__(name, text, labels)
        self.bounds = tuple(bounds)
        self.counts: dict[Labels, list[int]] = {}
        self.sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str, times: int = 1) -> None:
        counts = self.counts.setdefault(labels, [0] * (len(self.bounds) + 1))
        for at, bound in enumerate(self.bounds):
            if value <= bound:
                counts[at] += times
                break
        else:
            counts[-1] += times
        self.sums[labels] = self.sums.get(labels, 0.0) + value * times

    def samples(self) -> list[str]:
        lines: list[str] = []
        for labels, counts in sorted(self.counts.items()):
            total = 0
            for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
                total += count
                lines.append(self._series(f"{self.name}_bucket", labels, total, f'le="{bound}"'))
            lines.append(self._series(f"{self.name}_sum", labels, self.sums[labels]))
            lines.append(self._series(f"{self.name}_count", labels, total))
        return lines


M = TypeVar("M", bound=Metric)


class Measure(Value):
    """A number that somebody else keeps, told when asked; a counter's only grows."""

    name: str
    text: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()  # name and value
    kind: Literal["gauge", "counter"] = "gauge"


class Registry:
    """The metrics of one process; asking for a name again gives the same metric."""

    def __init__(self) -> None:
        self.metrics: dict[str, Metric] = {}
        self._refresh: list[Callable[[], None]] = []

    def _one(self, metric: M) -> M:
        known = self.metrics.setdefault(metric.name, metric)
        if not isinstance(known, type(metric)) or known.labels != metric.labels:
            raise ValueError(f"metric {metric.name} exists already with another kind or other labels")
        return known

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return self._one(Counter(name, text, labels))

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return self._one(Gauge(name, text, labels))

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS
    ) -> Histogram:
        return self._one(Histogram(name, text, labels, bounds))

    def before_render(self, refresh: Callable[[], None]) -> None:
        """Calls `refresh` before each rendering, for numbers that are cheaper to count when asked for."""
        self._refresh.append(refresh)

    def render(self) -> str:
        for refresh in self._refresh:
            refresh()
        return "".join(f"{line}\n" for metric in self.metrics.values() for line in metric.render())
