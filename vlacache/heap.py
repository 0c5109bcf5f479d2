"""What is freed stays with the process, so that the next call does not fault it in again."""

from __future__ import annotations

import ctypes
import functools
import sys

#: Keys of glibc's ``mallopt`` (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8
#: The largest ``_MMAP_THRESHOLD`` that glibc takes on 64 bits.
_BIG_BLOCK = 32 << 20


@functools.cache
def keep_freed_memory(*, big_blocks: bool = False) -> bool:
    """Have glibc hold on to freed memory, for the whole process; False, and nothing changed, with another C library.

    As it comes, glibc gives tensors of some megabytes back to the system when they are freed, or not, depending on
    what was allocated before. Then each call faults its scores in anew: up to 8,000 page faults and 13 of 59 ms in a
    dense call of ``tiny_oft``, which made the arm with the larger tensors look slow (decision 011).

    Args:
        big_blocks: hold on to blocks above 32 MB too, for training (5-6 % more samples/s); only before threads start,
            because one arena serves them all then.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_TRIM_THRESHOLD: 2**31 - 1}
    if big_blocks:
        settings |= {_MMAP_MAX: 0, _ARENA_MAX: 1, _TOP_PAD: 256 << 20}
    else:
        settings |= {_MMAP_THRESHOLD: _BIG_BLOCK}
    return all(mallopt(key, value) == 1 for key, value in settings.items())
