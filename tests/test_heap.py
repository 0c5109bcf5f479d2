"""Freed tensors stay with the process: counted in page faults of a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys
import torch
from vlacache.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.full((3 << 20,), 1, dtype=torch.uint8) for _ in range(8)]
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Page faults of the last of some rounds that allocate and free 24 MB."""
    run = subprocess.run([sys.executable, "-c", ROUNDS, mode], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has another heap")
def test_a_round_faults_in_nothing_that_the_last_one_freed() -> None:
    """Without it thousands of pages, where the system has no huge ones."""
    kept, left = faults("keep"), faults("leave")
    assert kept < 200 or kept < left / 5
