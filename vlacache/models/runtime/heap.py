"""What a call frees stays with the process, so that the next call does not fault it in again."""

from __future__ import annotations

import ctypes
import functools

#: glibc's ``mallopt`` keys (malloc.h), and the largest threshold that it takes on 64 bits.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the whole process; False, and nothing changed, with another C library.

    As it comes, glibc gives tensors of some megabytes back to the system when they are freed, or not, depending on
    what was allocated before. Then each call faults its scores in anew: up to 8,000 page faults and 13 of 59 ms in a
    dense call of ``tiny_oft``, which made the arm with the larger tensors look slow (decision 011).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD))
