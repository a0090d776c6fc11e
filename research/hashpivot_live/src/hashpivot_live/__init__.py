"""hashpivot's live feed (docs/live.md): typed messages, in order and each once, over a connection that is made again whenever it is lost."""

from ._client import Client, Reconnect
from ._errors import ClosedError, Error, LiveError, LostError, ProtocolError, RefusedError
from ._messages import (
    TYPES,
    Bar,
    Block,
    BTCPrice,
    Cursor,
    Difficulty,
    FeedEvent,
    FeedGap,
    Fees,
    Halt,
    Hashprice,
    Imbalance,
    Message,
    Offer,
    Quote,
    Rate,
    Signal,
    Trade,
)
from ._subscription import Gap, Replay, Skipped, Subscription

__all__ = [
    "TYPES", "BTCPrice", "Bar", "Block", "Client", "ClosedError", "Cursor", "Difficulty", "Error", "FeedEvent", "FeedGap", "Fees", "Gap", "Halt", "Hashprice",
    "Imbalance", "LiveError", "LostError", "Message", "Offer", "ProtocolError", "Quote", "Rate", "Reconnect", "RefusedError", "Replay", "Signal", "Skipped",
    "Subscription", "Trade",
]  # fmt: skip
