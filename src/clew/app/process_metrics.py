"""What every Prometheus client tells of its own process, which dashboards ask for: CPU, memory, descriptors, start."""

import os
import time
from pathlib import Path

from clew.base.metrics import Registry


def process_metrics(registry: Registry) -> None:
    """Read from /proc when the metrics are."""
    cpu = registry.counter("process_cpu_seconds_total", "CPU of this process, user and system.")
    resident = registry.gauge("process_resident_memory_bytes", "Memory held.")
    virtual = registry.gauge("process_virtual_memory_bytes", "Memory mapped.")
    files = registry.gauge("process_open_fds", "Open descriptors.")
    registry.gauge("process_start_time_seconds", "When it began, since 1970.").set(time.time())
    page = os.sysconf("SC_PAGE_SIZE")

    def refresh() -> None:
        used = os.times()
        cpu.values[()] = used.user + used.system
        size, held, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
        virtual.set(int(size) * page)
        resident.set(int(held) * page)
        files.set(sum(1 for _ in Path("/proc/self/fd").iterdir()))

    registry.before_render(refresh)
