"""Time a whole command in a process of its own, for run.py, predict.py and data.py."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def program(side: str, stock: Path) -> Path:
    """Return the program of "ours" or "theirs"; `stock` is the environment of theirs."""
    return Path(sys.executable).parent / "spliceai-jax" if side == "ours" else stock / "bin" / "openspliceai"


def timed(command: Sequence[object], log: Path) -> dict[str, float]:
    """Return wall and CPU seconds and the peak memory of a command; one that fails ends the benchmark."""
    words = [str(word) for word in command]
    start = time.perf_counter()
    with open(log, "w") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{words[0]} failed:\n{log.read_text()[-3000:]}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
