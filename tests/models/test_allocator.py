"""Memory that is kept changes no number, and the kernel clears fewer pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from distill.models.allocator import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
import numpy as np
total = 0.0
for turn in range(20):
    if turn == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    total += float(np.full(10_000_000, turn, np.float32).sum())  # 40 MB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, total)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_used_again():
    def measured(side: str) -> tuple[int, float]:
        done = subprocess.run([sys.executable, "-c", SCRIPT, side], capture_output=True, text=True, check=True)
        faults, total = done.stdout.split()
        return int(faults), float(total)

    (kept, total), (default, expected) = measured("kept"), measured("default")
    assert total == expected
    assert kept < default / 10 or default < 100  # huge pages: there was nothing to save
