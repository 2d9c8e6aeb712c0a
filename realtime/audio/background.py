"""Threads beside the music: they yield to the audio thread and to nobody else.

Not to normal priority: such a thread may be put aside by any other program while it holds the interpreter, and
then the audio thread waits with it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

from realtime.audio.snapshot import Plan, polite

__all__ = ["free", "step_back"]

PAUSE_S = 0.003


def step_back(steps: int = 1) -> None:
    """So many real-time steps lower for the calling thread, where it has inherited such a priority."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        policy, priority = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
        if policy in (os.SCHED_FIFO, os.SCHED_RR) and priority > 1:
            os.sched_setscheduler(0, policy, os.sched_param(max(1, priority - steps)))


def free(roots: list[Any]) -> None:
    """Let go of the objects in `roots`, which is emptied, part by part: a session of ONNX Runtime takes a
    millisecond to die and keeps the interpreter for it; six of them at once would be heard.
    """
    while roots:
        root = roots.pop(0)
        parts = Plan(root, polite()).parts()
        del root
        parts.reverse()  # parents first: what they hold dies one by one after them
        while parts:
            heavy = type(parts[-1]).__module__.startswith("onnxruntime")
            parts.pop()
            if heavy:
                time.sleep(PAUSE_S)
