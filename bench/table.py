"""Figures as a person reads them: a Markdown table a benchmark, ready for docs/bench.md."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.figures import Figure

HEADER = ("", "median", "baseline", "which is", "times better", "goal")


def benchmark(name: str, about: str, figures: Iterable[Figure], problem: str = "") -> str:
    lines = [f"### {name}", "", about, "", *_table([HEADER, *map(_row, figures)])]
    return "\n".join([*lines, "", f"**Not complete: {problem}**"] if problem else lines) + "\n"


def machine(facts: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in facts.items()) + "\n"


def _row(figure: Figure) -> tuple[str, ...]:
    baseline, ratio, goal = figure.baseline, figure.ratio, figure.goal
    return (
        figure.what,
        f"{number(figure.value)} {figure.unit}",
        "" if baseline is None else f"{number(baseline)} {figure.unit}",
        figure.against,
        "" if ratio is None else number(ratio),
        "" if goal is None else f"{'≥' if figure.more else '≤'} {number(goal)}: {'yes' if figure.reached else 'no'}",
    )


def number(value: float) -> str:
    """Three digits that say something."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(HEADER))]
    for place, row in enumerate(rows):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if place == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
