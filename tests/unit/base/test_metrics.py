"""The Prometheus text, and that a name means one metric."""

import pytest

from clew.base.metrics import Registry


def test_the_text_is_prometheus() -> None:
    registry = Registry()
    registry.counter("a_total", "All a.", ("kind",)).add('x"y')
    registry.histogram("b_seconds", "Time.", (), (0.1, 1.0)).observe(0.5)
    assert registry.render().splitlines() == [
        "# HELP a_total All a.",
        "# TYPE a_total counter",
        'a_total{kind="x\\"y"} 1',
        "# HELP b_seconds Time.",
        "# TYPE b_seconds histogram",
        'b_seconds_bucket{le="0.1"} 0',
        'b_seconds_bucket{le="1.0"} 1',
        'b_seconds_bucket{le="+Inf"} 1',
        "b_seconds_sum 0.5",
        "b_seconds_count 1",
    ]


def test_a_name_is_one_metric() -> None:
    registry = Registry()
    assert registry.counter("a", "A.") is registry.counter("a", "A.")
    with pytest.raises(ValueError, match="exists already"):
        registry.gauge("a", "A.")
