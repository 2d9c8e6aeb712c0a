"""Network ports: free, ours already, or someone else's."""

from __future__ import annotations

import socket
import sys

from realtime.control.osc.packet import PacketError, decode, encode
from realtime.doctor.finding import Finding, ok, stop, warn

__all__ = ["is_session", "judge_port", "port_free", "ports"]

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
