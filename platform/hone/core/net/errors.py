"""Why an outbound request did not come back with an answer."""

from __future__ import annotations

BLOCKED = (
    "This address may not be called from here. "
    "Ask the operator to allow it with HONE_OUTBOUND_ALLOW, or use a public address."
)


class OutboundError(Exception):
    """The request failed. `sent`: whether the server may have acted on it."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.sent = sent


class OutboundInvalid(OutboundError):
    """The URL or a header cannot be used at all."""


class OutboundBlocked(OutboundError):
    """The address is not allowed; the text never tells which rule said so, nor what is there."""

    def __init__(self) -> None:
        super().__init__(BLOCKED)


class OutboundTimeout(OutboundError):
    """The deadline passed, wherever the exchange stood."""


class OutboundFailed(OutboundError):
    """No connection, a broken one, or an answer that is not HTTP."""


class OutboundTooLarge(OutboundError):
    """The answer is larger than the caller takes. `status` is the answer's."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message, sent=True)
        self.status = status
