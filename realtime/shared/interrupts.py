"""Ctrl-C while the program is still being loaded: kept back until there is somebody to end it in order.

An interrupt in the middle of an import leaves a traceback, and sometimes a half-made shared memory.
"""

from __future__ import annotations

import signal

__all__ = ["hold_interrupts", "release_interrupts"]


def hold_interrupts() -> None:
    """From now on Ctrl-C waits (where the system can make it wait: not on Windows)."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def release_interrupts() -> None:
    """One that came meanwhile is delivered now."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
