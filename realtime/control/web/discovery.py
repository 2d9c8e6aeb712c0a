"""mDNS: others on the network find the instrument by its name (`_oscjson._tcp` and `_osc._udp`).

Threading model: `start` returns at once; a thread of its own registers, which takes a second, and tells how
it went in `notice` and in the log. A network without multicast costs a notice, never the performance.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import threading
from contextlib import suppress
from typing import Any

__all__ = ["OSCJSON", "OSC_UDP", "Discovery", "addresses_of"]

OSCJSON, OSC_UDP = "_oscjson._tcp.local.", "_osc._udp.local."
_MAX_LABEL = 63  # bytes (RFC 1035)

_log = logging.getLogger("realtime.discovery")


def addresses_of(host: str) -> list[str]:
    """Addresses by which others reach a server bound to `host`: none if that is loopback."""
    bound = ipaddress.ip_address(host.partition("%")[0])
    if not bound.is_unspecified:
        return [] if bound.is_loopback else [str(bound)]
    import ifaddr

    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            usable = not (address.is_loopback or address.is_unspecified)
            if usable and (address.version == 4 or (bound.version == 6 and not address.is_link_local)):
                found.append(str(address))
    return found


def _label(name: str) -> str:
    """A name as one DNS label: no dots, no control characters, at most 63 bytes."""
    plain = re.sub(r"[\x00-\x1f\x7f.]+", " ", name).strip() or "umtn"
    return plain.encode()[:_MAX_LABEL].decode(errors="ignore").strip()


class Discovery:
    """Announces http_port and osc_port (0: that one is not there) from `start` to `stop`.

    host: what the servers are bound to. notice: what became of it, in a sentence.
    """

    def __init__(self, name: str, http_port: int, osc_port: int, host: str) -> None:
        self._label = _label(name)
        self._ports = {OSCJSON: http_port, OSC_UDP: osc_port}
        self._host = "127.0.0.1" if host == "localhost" else host
        self.notice = ""
        self.announced = False
        self._zeroconf: Any = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mdns", daemon=True)

    def start(self) -> None:
        """Begin to announce; on loopback there is nothing to announce."""
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is known how it went; True if the services are announced."""
        self._thread.join(timeout_s)
        return self.announced

    def stop(self) -> None:
        """Take the announcement back; may be called twice, or without `start`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(3.0)
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            with suppress(Exception):
                zeroconf.close()  # says goodbye for all of them
        self.announced = False

    def services(self, addresses: list[str]) -> list[Any]:
        """What is announced: one zeroconf.ServiceInfo for each port."""
        from zeroconf import ServiceInfo

        server = f"{re.sub(r'[^A-Za-z0-9-]+', '-', socket.gethostname()).strip('-') or 'umtn'}.local."
        return [
            ServiceInfo(kind, f"{self._label}.{kind}", port, server=server, parsed_addresses=addresses)
            for kind, port in self._ports.items()
            if port
        ]

    def _run(self) -> None:
        try:
            addresses = addresses_of(self._host)
            if addresses:
                self._announce(addresses)
            else:
                self._note(
                    f"not announced on the network: bound to {self._host}, which only this machine reaches"
                )
        except ImportError:
            self._note("not announced on the network: the package zeroconf is not installed")
        except Exception as error:  # a firewall, no network, no multicast: all of it comes as it likes
            self._note(f"not announced on the network ({type(error).__name__}: {error}); all else works")

    def _announce(self, addresses: list[str]) -> None:
        from zeroconf import IPVersion, Zeroconf

        four = [a for a in addresses if ":" not in a]
        version = IPVersion.V4Only if four else IPVersion.V6Only
        self._zeroconf = Zeroconf(interfaces=four or addresses, ip_version=version)
        for service in self.services(addresses):
            if self._stopping.is_set():
                return
            self._zeroconf.register_service(service, allow_name_change=True)
        self.announced = True
        self._note(f"announced on the network as {self._label!r} at {', '.join(addresses)}")

    def _note(self, sentence: str) -> None:
        self.notice = sentence
        _log.info("%s", sentence)
