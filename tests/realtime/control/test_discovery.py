"""mDNS: a real browser on this machine's network finds the services; without a network nothing breaks."""

from __future__ import annotations

import socket
import time

import pytest
from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from realtime.control.web.discovery import OSC_UDP, OSCJSON, Discovery, addresses_of


class Found(ServiceListener):
    """Keeps what a browser hears of."""

    def __init__(self) -> None:
        self.infos: dict[str, ServiceInfo] = {}
        self.gone: set[str] = set()

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        info = zc.get_service_info(type_, name, 3000)
        if info is not None:
            self.infos[name] = info

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Nothing changes here."""

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.gone.add(name)


def _why_no_multicast() -> str:
    """Whether a multicast packet comes back on this machine's own interface; "" if it does."""
    addresses = [a for a in addresses_of("0.0.0.0") if ":" not in a]
    if not addresses:
        return "this machine has no address but loopback"
    group = socket.inet_aton("224.0.0.251") + socket.inet_aton(addresses[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("", 0))
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            receiver.settimeout(1.0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(addresses[0]))
                sender.sendto(b"?", ("224.0.0.251", receiver.getsockname()[1]))
            receiver.recv(16)
    except OSError as error:
        return f"multicast does not work on {addresses[0]}: {error}"
    return ""


@pytest.mark.slow
def test_a_browser_finds_both_services() -> None:
    reason = _why_no_multicast()
    if reason:
        pytest.skip(reason)
    address = next(a for a in addresses_of("0.0.0.0") if ":" not in a)
    name = f"umtn test {time.time_ns()}"
    found = Found()
    discovery = Discovery(name, 9100, 9101, "0.0.0.0")
    with Zeroconf(interfaces=[address], ip_version=IPVersion.V4Only) as zeroconf:
        browser = ServiceBrowser(zeroconf, [OSCJSON, OSC_UDP], found)
        discovery.start()
        try:
            assert discovery.wait(10), discovery.notice
            wanted = {f"{name}.{OSCJSON}": 9100, f"{name}.{OSC_UDP}": 9101}
            _until(lambda: set(wanted) <= set(found.infos))
            assert {n: i.port for n, i in found.infos.items() if n in wanted} == wanted
            assert all(address in found.infos[n].parsed_addresses() for n in wanted)
        finally:
            discovery.stop()
        _until(lambda: set(wanted) <= found.gone)
        browser.cancel()
    assert set(wanted) <= found.gone


def _until(condition: object, timeout_s: float = 8.0) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and not condition():  # type: ignore[operator]
        time.sleep(0.05)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_nothing_is_announced_and_that_is_said(host: str) -> None:
    discovery = Discovery("umtn", 9100, 9100, host)
    discovery.start()
    assert not discovery.wait(5)
    assert "only this machine" in discovery.notice
    discovery.stop()
    discovery.stop()


def test_a_failure_is_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("zeroconf.Zeroconf", fails)
    discovery = Discovery("umtn", 9100, 9100, "192.0.2.77")
    discovery.start()
    assert not discovery.wait(5)
    assert "Network is unreachable" in discovery.notice
    discovery.stop()


def test_what_is_announced() -> None:
    http, osc = Discovery("Stage. Left\n", 80, 81, "0.0.0.0").services(["192.0.2.7", "2001:db8::7"])
    assert http.name == "Stage  Left._oscjson._tcp.local."
    assert (http.port, osc.port) == (80, 81)
    assert http.parsed_addresses() == ["192.0.2.7", "2001:db8::7"]
    assert (http.type, osc.type) == (OSCJSON, OSC_UDP)
    assert [s.type for s in Discovery("x", 80, 0, "0.0.0.0").services(["192.0.2.7"])] == [OSCJSON]
    assert len(Discovery("ä" * 100, 80, 0, "0.0.0.0").services(["192.0.2.7"])[0].name.split(".")[0]) == 31


def test_addresses() -> None:
    assert addresses_of("192.0.2.7") == ["192.0.2.7"]
    assert addresses_of("127.0.0.2") == []
    assert not any(a.startswith("127.") for a in addresses_of("0.0.0.0"))
