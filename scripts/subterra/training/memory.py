"""Keeps freed memory in the process: otherwise glibc hands it back and asks for it again at every training step."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Tell the C library; return whether it listens (glibc does, others have no such call and lose nothing)."""
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    wishes = ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, 2 * LARGEST - 1), (M_TOP_PAD, LARGEST // 4))
    return bool(tell) and all(tell(name, value) for name, value in wishes)
