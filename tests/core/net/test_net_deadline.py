"""One deadline covers everything, the look-up of a name too, also for callers without a loop."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from hone.core.net.client import post_sync
from hone.core.net.errors import OutboundFailed, OutboundTimeout
from hone.core.net.policy import OutboundPolicy


def ask(timeout_s: float) -> None:
    post_sync(
        OutboundPolicy(), "http://slow.example/", headers={}, content=b"", timeout_s=timeout_s
    )


def test_a_slow_name_server_holds_nobody_beyond_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(*args: Any, **options: Any) -> list[Any]:
        time.sleep(3)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    with pytest.raises(OutboundTimeout, match=r"^No complete answer within 0\.2 s\.$"):
        ask(0.2)
    assert time.monotonic() - started < 1.5


def test_a_name_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **options: Any) -> list[Any]:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OutboundFailed, match=r"^The host name slow\.example cannot be resolved\.$"):
        ask(5)
