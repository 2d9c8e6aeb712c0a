"""How the audio process is born, and what becomes of it when its control process is gone.

Threading model: `main` runs in the audio process's main thread. One further thread sleeps in the kernel until
the control process ends; it costs the audio nothing, and wakes only when no one else is left to stop it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from multiprocessing import connection, parent_process
from typing import Any

from realtime.shared import SharedState, SharedStateError

__all__ = ["deaf_to_interrupts", "main"]


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """What is started inside does not get Ctrl-C; the caller gets it, at the latest on leaving."""
    if sys.platform == "win32":
        import ctypes

        console = ctypes.windll.kernel32
        console.SetConsoleCtrlHandler(None, True)
        try:
            yield
        finally:
            console.SetConsoleCtrlHandler(None, False)
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(target: str, config: Any, shared_name: str, conn: connection.Connection) -> None:
    """Import `module:function` here, not in the control process, and run it; any failure goes to `conn`."""
    threading.Thread(target=_watch, args=(shared_name,), daemon=True, name="parent").start()
    try:
        module, _, function = target.partition(":")
        getattr(importlib.import_module(module), function)(config, shared_name, conn)
    except ValueError as error:
        _tell(conn, str(error))
    except Exception as error:
        if os.environ.get("UMTN_DEBUG"):
            traceback.print_exc()
        _tell(conn, f"the audio process failed ({type(error).__name__}: {error}); UMTN_DEBUG=1 shows where")


def _tell(conn: connection.Connection, sentence: str) -> None:
    with contextlib.suppress(OSError):
        conn.send(("error", sentence))


def _watch(shared_name: str) -> None:
    """Sleep until control has ended; if that was no orderly stop, say how to stop what plays on."""
    parent = parent_process()
    if parent is None:
        return
    connection.wait([parent.sentinel])
    try:
        shared = SharedState.attach(shared_name)
    except SharedStateError:
        return  # it tidied up, so it has asked us to stop
    if shared.stop_flag:
        return
    shared.adopt()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(
            "control has gone; the audio plays on. To stop it: "
            f"python -m realtime.run --stop {shared_name}   (or press Ctrl-C here)\n"
        )
        sys.stderr.flush()
    if hasattr(signal, "sigwait"):
        signal.sigwait({signal.SIGINT})  # blocked in every thread since the start, see deaf_to_interrupts
        shared.stop_flag = True
