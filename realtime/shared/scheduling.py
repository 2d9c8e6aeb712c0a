"""What the operating system grants to a process that must not be late, and the sentence for what it did not.

Each attempt is made and its answer reported; none is needed to play.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from dataclasses import dataclass

from realtime.shared.saved_classes import saved

__all__ = ["HEADROOM", "LEAST", "Room", "blend_room", "flush_denormals", "raise_thread", "request_realtime"]


FIFO_PRIORITY = 5  # below any sound server (jackd runs at 10 and up)
_LOCK_CURRENT, _LOCK_FUTURE, _LOCK_ON_FAULT = 1, 2, 4
_HIGH_PRIORITY_CLASS = 0x80
_LIMITS = "/etc/security/limits.d/audio.conf"


def request_realtime() -> tuple[list[str], list[str]]:
    """Ask for all this system knows of; returns (what was granted, how to grant the rest), for people."""
    granted: list[str] = []
    advice: list[str] = []
    if sys.platform == "linux":
        _linux(granted, advice)
    elif sys.platform == "win32":
        _windows(granted, advice)
    else:
        granted.append("the system's own audio thread (already real-time)")
    return granted, advice


def _linux(granted: list[str], advice: list[str]) -> None:
    user = f"add yourself to the group audio, put '@audio - {{}}' into {_LIMITS} and log in again"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
        granted.append(f"SCHED_FIFO {FIFO_PRIORITY}")
    except OSError:
        advice.append("real-time priority: " + user.format("rtprio 95"))
    flags = _LOCK_CURRENT | _LOCK_FUTURE | _LOCK_ON_FAULT
    if ctypes.CDLL(None, use_errno=True).mlockall(flags) == 0:
        granted.append("memory locked")
    else:
        advice.append("locked memory: " + user.format("memlock unlimited"))
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) >= 4:  # the first one serves most interrupts
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cpus[1:])
            granted.append(f"kept off CPU {cpus[0]}")


def _windows(granted: list[str], advice: list[str]) -> None:
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    if kernel.SetPriorityClass(kernel.GetCurrentProcess(), _HIGH_PRIORITY_CLASS):
        granted.append("high priority class")
    else:
        advice.append("priority: start the program as a user who may raise priorities")


def raise_thread() -> None:
    """Real-time priority for the calling thread if it has none (a JACK client's thread may not)."""
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))


def flush_denormals() -> bool:
    """Denormal numbers become zero in the calling thread from now on; False where we do not know how."""
    machine = platform.machine().lower()
    try:
        if sys.platform == "win32":
            ctypes.CDLL("ucrtbase")._controlfp(0x01000000, 0x03000000)  # _DN_FLUSH, _MCW_DN
            return True
        if sys.platform == "linux" and machine in ("x86_64", "amd64"):
            return _edit_environment(28, 0x8040)  # mxcsr: flush to zero, denormals are zero
        if sys.platform == "linux" and machine in ("aarch64", "arm64"):
            return _edit_environment(0, 1 << 24)  # fpcr: FZ
    except (OSError, AttributeError):
        pass
    return False


def _edit_environment(offset: int, bits: int) -> bool:
    """Set bits of the C library's floating-point environment (fenv_t) of this thread."""
    libm = ctypes.CDLL("libm.so.6")
    environment = (ctypes.c_uint8 * 64)()
    if libm.fegetenv(environment):
        return False
    word = ctypes.c_uint32.from_buffer(environment, offset)
    word.value |= bits
    return bool(libm.fesetenv(environment) == 0)


def step_back(steps: int = 1) -> None:
    """So many real-time steps lower for the calling thread, where it has inherited such a priority."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        policy, priority = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
        if policy in (os.SCHED_FIFO, os.SCHED_RR) and priority > 1:
            os.sched_setscheduler(0, policy, os.sched_param(max(1, priority - steps)))


# How many decoders fit into one block: a pure sum, so that the control process can say it in figures too.
#
#     encoder + n decoders <= HEADROOM of the time there is
#
# The rest of the time is for resampling, for a block that takes longer than the median, and for the system.


HEADROOM = 0.7
LEAST = 2  # a cross-fade needs two, whatever it costs


def blend_room(encode_s: float, decode_s: float, block_s: float) -> int:
    """Decoders that may run at once, `LEAST` at least; `decode_s` is the slowest decoder's step."""
    return Room(encode_s / block_s, decode_s / block_s).decoders


@saved("decoder-room")
@dataclass(frozen=True)
class Room:
    """Shares of the time that there is for one block: the encoder's and the slowest decoder's."""

    encoder: float
    decoder: float

    @property
    def decoders(self) -> int:
        """How many may run at once."""
        # a hair above, or three decoders of 0.2 beside an encoder of 0.1 would not fit into 0.7
        return max(LEAST, int((HEADROOM - self.encoder) / max(self.decoder, 1e-9) + 1e-9))

    def refusal(self, wanted: int) -> str | None:
        """What to tell whoever asks for that many; None if they fit."""
        held = self.decoders
        if wanted <= held:
            return None
        share = self.encoder + wanted * self.decoder
        return (
            f"{wanted} decoders need {100 * share:.0f} % of a block (up to {100 * HEADROOM:.0f} % is safe), "
            f"this machine holds {held}"
        )
