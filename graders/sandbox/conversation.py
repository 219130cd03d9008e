"""One grading's pipes on the owner's side: the request goes in, a bounded reply comes out."""

from __future__ import annotations

import contextlib
import os
import select
import time

from graders.sandbox.limits import REPLY_BYTES
from graders.sandbox.zygote import STATUS


class ServerDied(RuntimeError):
    """The server ended or went silent during a call."""


class End:
    """One end of a pipe; closing twice is harmless."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1


class Conversation:
    """Feeds the request and collects the reply until the server tells how the child ended."""

    def __init__(self, request: bytes, request_w: End, reply_r: End, status_r: End) -> None:
        self._request = memoryview(request)
        self._request_w = request_w
        self._reply_r = reply_r
        self._status_r = status_r
        self.reply = b""
        self.oversized = False
        for end in (request_w, reply_r):
            os.set_blocking(end.number, False)

    def hold(self, deadline: float) -> tuple[int, bool]:
        """Exit code and whether time ran out; raises ServerDied."""
        poller = select.poll()
        poller.register(self._request_w.number, select.POLLOUT)
        poller.register(self._reply_r.number, select.POLLIN)
        poller.register(self._status_r.number, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = {handle for handle, _ in poller.poll(left * 1000)}
            if self._request_w.number in ready and not self._feed():
                poller.unregister(self._request_w.number)
                self._request_w.close()
            if self._reply_r.number in ready and not self._collect():
                poller.unregister(self._reply_r.number)
                self._reply_r.close()
            if self._status_r.number in ready:
                return self._ending()
        raise ServerDied("The sandbox's process does not answer.")

    def _feed(self) -> bool:
        try:
            self._request = self._request[os.write(self._request_w.number, self._request) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return len(self._request) > 0

    def _collect(self) -> bool:
        """Read what there is. Too much closes the pipe, which ends whoever floods it."""
        try:
            piece = os.read(self._reply_r.number, REPLY_BYTES + 1 - len(self.reply))
        except BlockingIOError:
            return True
        self.reply += piece
        self.oversized = len(self.reply) > REPLY_BYTES
        return bool(piece) and not self.oversized

    def _ending(self) -> tuple[int, bool]:
        status = os.read(self._status_r.number, STATUS.size)
        if len(status) != STATUS.size:
            raise ServerDied("The sandbox's process ended during a grading.")
        while self._reply_r.number >= 0 and self._collect():
            if not select.select([self._reply_r.number], [], [], 0)[0]:
                break
        exit_code, timed_out = STATUS.unpack(status)
        return exit_code, bool(timed_out)


def pipe(handles: contextlib.ExitStack) -> tuple[End, End]:
    reading, writing = (End(number) for number in os.pipe())
    handles.callback(reading.close)
    handles.callback(writing.close)
    return reading, writing


def read_some(handle: int, most: int) -> bytes:
    try:
        return os.read(handle, most)
    except BlockingIOError:
        return b""
