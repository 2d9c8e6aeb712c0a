"""What makes the processor's clock fall: governors, power plans, batteries."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from realtime.checkup.finding import Finding, ok, stop, warn
from realtime.checkup.shell import run

__all__ = ["judge_battery", "judge_governors", "judge_pmset", "judge_powercfg", "power"]

LOW_BATTERY = 20  # per cent


def power() -> list[Finding]:
    """All of it on this machine; what a system does not tell is left out."""
    if sys.platform == "linux":
        paths = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
        return [judge_governors([_read(p) for p in paths]), judge_battery(*_linux_battery())]
    if sys.platform == "darwin":
        return [judge_pmset(run(["pmset", "-g", "batt"]) or "", run(["pmset", "-g"]) or "")]
    if sys.platform == "win32":
        plan = judge_powercfg(run(["powercfg", "/getactivescheme"]) or "")
        return [plan, judge_battery(*_windows_battery())]
    return []


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""


def judge_governors(governors: Sequence[str]) -> Finding:
    """One Linux governor for each processor, "" or none where the kernel shows none."""
    seen = sorted({g for g in governors if g})
    if not seen:
        return ok("processor", "no frequency governor to see (a virtual machine, or a fixed clock)")
    if seen == ["performance"]:
        return ok("processor", "governor performance")
    mend = "sudo cpupower frequency-set -g performance  (or: powerprofilesctl set performance)"
    return warn(
        "processor", f"governor {', '.join(seen)}: the clock falls between blocks and rises late", mend
    )


def _linux_battery() -> tuple[bool | None, int | None]:
    """(on battery, per cent left); None where there is none."""
    battery, percent = None, None
    for supply in sorted(Path("/sys/class/power_supply").glob("*")):
        if _read(supply / "type") == "Battery" and _read(supply / "scope") != "Device":  # not a mouse's
            battery = _read(supply / "status") == "Discharging"
            text = _read(supply / "capacity")
            percent = int(text) if text.isdecimal() else None
    return battery, percent


def _windows_battery() -> tuple[bool | None, int | None]:
    class Status(ctypes.Structure):
        _fields_ = [(n, ctypes.c_ubyte) for n in ("line", "flag", "percent", "saver")] + [
            (n, ctypes.c_ulong)
            for n in ("seconds", "full")  # type: ignore[list-item]
        ]

    status = Status()
    try:
        known = ctypes.windll.kernel32.GetSystemPowerStatus(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    except (OSError, AttributeError):
        return None, None
    if not known or status.flag & 128:
        return None, None
    return status.line == 0, int(status.percent) if status.percent <= 100 else None


def judge_battery(on_battery: bool | None, percent: int | None) -> Finding:
    """on_battery: None where there is no battery."""
    left = f", {percent} % left" if percent is not None else ""
    if on_battery is None:
        return ok("power", "no battery")
    if not on_battery:
        return ok("power", f"plugged in{left}")
    if percent is not None and percent < LOW_BATTERY:
        return stop("power", f"on battery{left}", "plug the computer in")
    return warn(
        "power", f"on battery{left}: the system saves power and may slow down", "plug the computer in"
    )


def judge_pmset(battery: str, settings: str) -> Finding:
    """macOS: the texts of `pmset -g batt` and `pmset -g`."""
    if re.search(r"lowpowermode\s+1", settings):
        return warn("power", "low power mode is on", "sudo pmset -a lowpowermode 0")
    found = re.search(r"(\d+)%", battery)
    percent = int(found[1]) if found else None
    if percent is None and "AC Power" not in battery:
        return ok("power", "no battery to see")
    return judge_battery("Battery Power" in battery, percent)


def judge_powercfg(text: str) -> Finding:
    """Windows: the text of `powercfg /getactivescheme`; plans are known by their GUIDs in every language."""
    saver, balanced = "a1841308-3541-4fab-bc81-f71556f20b4a", "381b4222-f694-41f0-9685-ff5bb260df2e"
    mend = "powercfg /setactive SCHEME_MIN  (high performance)"
    if saver in text.lower():
        return warn("processor", "power plan: power saver", mend)
    if balanced in text.lower():
        return warn("processor", "power plan: balanced; the clock falls between blocks", mend)
    name = re.search(r"\(([^)]*)\)", text)
    return ok("processor", f"power plan: {name[1] if name else 'not known'}")
