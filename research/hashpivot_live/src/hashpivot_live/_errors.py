"""Errors, and what ends a connection for good."""


class Error(Exception):
    """What this package raises."""


class LiveError(Error):
    """What the gateway refused: a stable code of docs/live.md and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ClosedError(Error):
    """The client was closed."""


class RefusedError(Error):
    """The gateway refused for good: connecting again does not cure it."""


class ProtocolError(Error):
    """What came does not fit the protocol. The connection is made again."""


class LostError(Error):
    """A connection was lost. It is made again."""
