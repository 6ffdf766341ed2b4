"""What the C library does with freed memory. Knows nothing but Python."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_freed_memory(in_threads: bool = False) -> None:
    """Lets this process use the memory of freed tensors again instead of handing it back to the system.

    A network's evaluation frees and takes hundreds of large tensors, and glibc would map each anew: for large images
    the system then spends more time on clearing pages than the network on computing. Without glibc, does nothing.

    Args:
        in_threads: Also where threads take memory, which glibc keeps apart and hands back whatever it is told: all
            threads share one memory then. It costs training 5 % of its speed, for threads wait for each other.
    """
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    if in_threads:
        mallopt(M_ARENA_MAX, 1)
