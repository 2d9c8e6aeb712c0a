"""The computer: packages, real-time rights, load, disk, MIDI; power.py has the processor's clock and battery."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from realtime.control.osc.packet import PacketError, decode, encode
from realtime.doctor.finding import Finding, ok, run, stop, warn

__all__ = [
    "is_session",
    "judge_battery",
    "judge_disk",
    "judge_governors",
    "judge_load",
    "judge_midi",
    "judge_packages",
    "judge_pmset",
    "judge_port",
    "judge_powercfg",
    "judge_rights",
    "machine",
    "port_free",
    "ports",
    "power",
]


# What makes the processor's clock fall: governors, power plans, batteries.


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


NEEDED = {  # what is imported: the distributions that may bring it
    "numpy": ("numpy",),
    "sounddevice": ("sounddevice",),
    "soundfile": ("soundfile",),
    "pythonosc": ("python-osc",),
}
USEFUL = {
    "aiohttp": (("aiohttp",), "the web page and OSCQuery"),
    "zeroconf": (("zeroconf",), "being found on the network"),
    "mido": (("mido",), "MIDI"),
    "rtmidi": (("python-rtmidi",), "MIDI"),
}
BUSY = 0.7  # load average for each processor
BYTES_PER_SAMPLE = 2 * 4  # input and output side by side, 32 bits
HOUR_S = 3600.0
_RIGHTS = """
import json
from realtime.shared.scheduling import flush_denormals, request_realtime
granted, advice = request_realtime()
print(json.dumps([granted + (["denormals off"] if flush_denormals() else []), advice]))
"""
_MIDI = "import json, mido; print(json.dumps([mido.get_input_names(), mido.get_output_names()]))"


def machine(rate_hz: int, folder: Path) -> list[Finding]:
    """All of it on this machine."""
    return [
        judge_packages(
            sys.version_info[:3], _versions(NEEDED), _versions({k: v[0] for k, v in USEFUL.items()})
        ),
        _rights(),
        *power(),
        *_load(),
        _disk(folder, rate_hz),
        _midi(),
    ]


def _versions(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Version of each module; "" where it is missing."""
    return {module: _version(module, names) for module, names in table.items()}


def _version(module: str, names: tuple[str, ...]) -> str:
    if importlib.util.find_spec(module) is None:
        return ""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "?"


def judge_packages(python: tuple[int, ...], needed: Mapping[str, str], useful: Mapping[str, str]) -> Finding:
    """needed, useful: module -> version, "" where it is missing."""
    has = ", ".join(f"{name} {version}" for name, version in {**needed, **useful}.items() if version)
    text = f"Python {'.'.join(map(str, python))}, {has}"
    if python < (3, 11):
        return stop("packages", text, "Python 3.11 or newer is needed: make play sets up an environment")
    missing = [name for name, version in needed.items() if not version]
    if missing:
        from umtn.missing import in_place, neighbour, pip_install

        beside = neighbour()
        mend = (
            f"{pip_install()}  (or: make play)" if beside is None else f"make play's own: {in_place(beside)}"
        )
        return stop("packages", f"{', '.join(missing)} missing; {text}", mend)
    lacks = [name for name, version in useful.items() if not version]
    if lacks:
        what = ", ".join(dict.fromkeys(USEFUL[name][1] for name in lacks))
        packages = " ".join(USEFUL[name][0][0] for name in lacks)
        return warn("packages", f"{text}; not there: {what}", f"pip install {packages}")
    return ok("packages", text)


def _rights() -> Finding:
    """Asked for in a process of its own: this one keeps what it has."""
    answer = run([sys.executable, "-c", _RIGHTS])
    if answer is None:
        return warn("rights", "real-time rights could not be asked for", "see the start line of realtime.run")
    granted, advice = json.loads(answer)
    return judge_rights(granted, advice)


def judge_rights(granted: list[str], advice: list[str]) -> Finding:
    """What rights.py was given, and its own advice for the rest."""
    has = f"granted: {', '.join(granted)}" if granted else "no real-time rights"
    if advice:
        return warn("rights", f"{has}; a loaded machine will drop blocks", "; ".join(advice))
    return ok("rights", has)


def _load() -> list[Finding]:
    if not hasattr(os, "getloadavg"):
        return []
    return [judge_load(os.getloadavg()[0], os.cpu_count() or 1)]


def judge_load(load: float, processors: int) -> Finding:
    """load: average number of running programs in the last minute."""
    text = f"{processors} processor(s), {load:.1f} programs running on average in the last minute"
    if load > BUSY * processors:
        return warn("load", text, "close what is not needed (top shows what runs)")
    return ok("load", text)


def _disk(folder: Path, rate_hz: int) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return warn("disk", f"{folder} cannot be looked at ({error.strerror})", "record to another folder")
    return judge_disk(free, rate_hz, os.access(folder, os.W_OK), str(folder))


def judge_disk(free_bytes: int, rate_hz: int, writable: bool, folder: str) -> Finding:
    """Room for a recording of input and output."""
    hours = free_bytes / (BYTES_PER_SAMPLE * rate_hz * HOUR_S)
    text = f"room for {hours:.1f} hours of recording in {folder}"
    if not writable:
        return warn(
            "disk", f"nothing can be written in {folder}", "start the program in a folder of your own"
        )
    if hours < 1:
        return warn("disk", text, "make room, or record to another disk")
    return ok("disk", text if hours < 100 else f"room for more than 100 hours of recording in {folder}")


def _midi() -> Finding:
    """In a process of its own: MIDI libraries print, and some wait for a server."""
    if not (importlib.util.find_spec("mido") and importlib.util.find_spec("rtmidi")):
        return judge_midi(None, None)
    answer = run([sys.executable, "-c", _MIDI])
    return judge_midi(*json.loads(answer)) if answer else judge_midi([], [])


def judge_midi(inputs: list[str] | None, outputs: list[str] | None) -> Finding:
    """Names of the ports; None where the packages are missing. MIDI is an extra: nothing stops without it."""
    if inputs is None:
        from umtn.missing import pip_install

        return ok("MIDI", f"not set up; for --midi: {pip_install('midi')}")
    if not inputs:
        return ok("MIDI", "no MIDI port; plug the controller in before the start if one is wanted")
    return ok("MIDI", f"in: {', '.join(inputs)}; out: {', '.join(outputs or []) or 'none'}")


# Network ports: free, ours already, or someone else's.


ANSWER_S = 0.3
_WHO = {
    "linux": "ss -lunpt 'sport = :{}' shows whose",
    "darwin": "lsof -nP -i :{} shows whose",
    "win32": "netstat -ano | findstr :{} shows whose",
}


def ports(host: str, port: int) -> list[Finding]:
    """OSC's UDP port, and the TCP port of the page and OSCQuery that has the same number."""
    if port == 0:
        return [ok("ports", "any free port")]
    ours = not port_free(host, port, udp=True) and is_session(host, port)
    udp = judge_port("UDP", "OSC", port, port_free(host, port, udp=True), ours, "--osc-port")
    tcp = judge_port("TCP", "page and OSCQuery", port, port_free(host, port, udp=False), ours, "--web-port")
    return [udp, tcp]


def port_free(host: str, port: int, udp: bool) -> bool:
    """Whether a server could open it now."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    try:
        family = socket.getaddrinfo(host, port, type=kind)[0][0]
        with socket.socket(family, kind) as s:
            if sys.platform == "win32":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            elif not udp:  # as servers do: a connection that has just ended holds no port
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host, port))
            if not udp:
                s.listen(1)
        return True
    except OSError:
        return False


def is_session(host: str, port: int) -> bool:
    """Whether what holds the UDP port answers as this program does."""
    address = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(ANSWER_S)
        try:
            s.sendto(encode("/umtn/ping"), (address, port))
            return any(message.address == "/umtn/pong" for message in decode(s.recv(4096)))
        except (OSError, PacketError):
            return False


def judge_port(kind: str, use: str, port: int, free: bool, ours: bool, option: str) -> Finding:
    """ours: a session of this program holds it."""
    if free:
        return ok("ports", f"{kind} {port} ({use}) is free")
    if ours:
        return warn(
            "ports",
            f"{kind} {port} ({use}) belongs to a session of this program that is running",
            f"end it before another is started, or give that one {option} {port + 1 if port < 65535 else port - 1}",
        )
    who = _WHO.get(sys.platform, _WHO["linux"]).format(port)
    other = port + 1 if port < 65535 else port - 1
    return stop("ports", f"{kind} {port} ({use}) is taken by another program", f"{option} {other}; {who}")
