"""What a benchmark ran on, and how its samples are summed up."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """Return one line that names the processor, its cores, and the interpreter."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores, {platform.python_implementation()} {platform.python_version()}"


def percentile(samples: list[float], fraction: float) -> float:
    """Return the nearest-rank percentile; `fraction` in (0, 1]."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, round(fraction * len(ordered)) - 1))]


def resident_mb() -> float:
    """Return this process's resident memory in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0
