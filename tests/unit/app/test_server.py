import socket

import pytest

pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app import server
from vqgen.app.server import Address, PageServer, bound_socket
from vqgen.errors import ConfigError, VQGenWarning


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_known(host, expected):
    assert Address(host).is_loopback is expected


def test_port_that_is_taken_is_refused(taken):
    with pytest.raises(ConfigError, match=f"--port: {taken} is taken by another program; name another one"):
        bound_socket(Address(port=taken))


def test_next_port_is_taken_if_none_is_named(taken, monkeypatch):
    monkeypatch.setattr(server, "FIRST_PORT", taken)
    with bound_socket(Address()) as bound:
        assert taken < bound.getsockname()[1] < taken + 20
    monkeypatch.setattr(server, "_PORTS", 1)
    with pytest.raises(ConfigError, match="all taken"):
        bound_socket(Address())


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_out_of_range_is_refused(port):
    with pytest.raises(ConfigError, match="--port: should be from 0 to 65535"):
        bound_socket(Address(port=port))


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_host_of_another_machine_is_refused(host):
    with pytest.raises(ConfigError, match="--host: should be a name of this machine"):
        bound_socket(Address(host, 0))


class Built(Exception):
    """The server is about to build the page."""


def test_open_page_is_warned_of(context, monkeypatch):
    def stop(context):
        raise Built

    monkeypatch.setattr(server, "_page", stop)
    with pytest.warns(VQGenWarning, match="everybody who reaches this machine may use the page"), pytest.raises(Built):
        PageServer(context, Address("0.0.0.0", 0))
    with pytest.raises(Built):  # no warning, which would be an error
        PageServer(context, Address("0.0.0.0", 0), "password")
