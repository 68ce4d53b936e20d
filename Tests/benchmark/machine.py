"""What the measurements depend on, besides the systems."""

import os
import platform
from datetime import date
from pathlib import Path

from support import library

from .systems import ALL_THREADS


def describe() -> dict[str, str | int | float]:
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "instruction set of NormKit": library.isa(),
        "threads": ALL_THREADS,
        "kernel": platform.release(),
        "C library": " ".join(platform.libc_ver()),
        "Python": platform.python_version(),
        "date": date.today().isoformat(),
    }


def _processor() -> str:
    """The name that the kernel gives it; arm64 has none there."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


class Others:
    """How much of the processors other processes have used since it was made."""

    def __init__(self) -> None:
        self.start = self._ticks()

    def share(self) -> float:
        busy, total, own = (now - before for now, before in zip(self._ticks(), self.start, strict=True))
        return max(0.0, busy - own) / max(1.0, total)

    @staticmethod
    def _ticks() -> tuple[float, float, float]:
        """Of all processors, busy and in all; of this process. The columns are in proc(5)."""
        columns = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
        user, nice, system, idle, waiting, *others = map(int, columns)
        busy = user + nice + system + sum(others)
        times = os.times()
        return busy, busy + idle + waiting, (times.user + times.system) * os.sysconf("SC_CLK_TCK")
