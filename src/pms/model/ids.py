"""Identifier types, so that mixing two kinds of id fails the type check (habit 7)."""

from typing import NewType, Protocol

SubAccountId = NewType("SubAccountId", str)
"""UUID v4 text of a virtual sub-account (`sub_accounts.id`)."""

UserId = NewType("UserId", str)
PositionId = NewType("PositionId", str)
"""UUID v4 text of a `virtual_positions` row."""

PendingOrderId = NewType("PendingOrderId", str)
"""UUID v4 text of a `pending_orders` row: what the browser knows a resting order by."""

TradeExecutionId = NewType("TradeExecutionId", str)
BalanceLogId = NewType("BalanceLogId", str)

ClientOrderId = NewType("ClientOrderId", str)
"""`PMS{8}_{CODE}_{base 36}`, at most 35 characters (decision 23)."""

ExchangeOrderId = NewType("ExchangeOrderId", str)
"""Decimal text; exceeds 2**53 on some symbols, therefore never a number in JSON (gateway spec, section 1)."""

TradeId = NewType("TradeId", int)
"""The exchange's trade id, unique per native symbol; 0 means "no trade"."""

ExchangeAccountId = NewType("ExchangeAccountId", str)
"""Our name of the one real account; every table, lease and lock of ours carries it (decision 30)."""

Fence = NewType("Fence", int)
"""Counter of engine leases; a transaction of an older fence is refused (decision 28)."""


class IdSource(Protocol):
    """Fresh identifiers, injected so that a seed reproduces a run (decision 24)."""

    def uuid(self) -> str:
        """Return a fresh lower-case hyphenated UUID v4."""
        ...

    def token(self, byte_count: int) -> str:
        """Return `byte_count` fresh random bytes as lower-case hex, fit for secrets."""
        ...


_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(number: int) -> str:
    """Return a non-negative integer in base 36, lower case."""
    if number < 0:
        raise ValueError(f"base36 takes a non-negative integer, was {number}")
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = _BASE36[rest] + digits
        if number == 0:
            return digits


HOUSE_PREFIX = "00000000"
"""Stands where the first eight characters of a sub-account id stand in orders of the house."""

_SEQUENCE_BITS = 48


def client_order_id(owner: SubAccountId | None, code: str, fence: Fence, sequence: int) -> ClientOrderId:
    """Return the client order id of decision 23; deterministic in all four arguments.

    The unique part packs the fence above 48 bits of journal sequence, so that two engines can never
    make the same id. `owner` None means the house.
    """
    prefix = HOUSE_PREFIX if owner is None else owner[:8]
    unique = base36((fence << _SEQUENCE_BITS) | sequence)
    text = f"PMS{prefix}_{code}_{unique}"
    if len(text) > 35:
        raise ValueError(f"client order id {text!r} has {len(text)} characters; the bound is 35")
    return ClientOrderId(text)


def owner_prefix(client_id: str) -> str | None:
    """Return the eight-character owner prefix of one of our client order ids, or None for foreign ids."""
    head, separator, _ = client_id.partition("_")
    if not separator or not head.startswith("PMS") or len(head) != 11:
        return None
    return head[3:]


def is_made_here(client_id: str, sequence: int) -> bool:
    """Tell whether a client order id is of this system's making for that journal sequence; an order that was
    adopted rests under somebody else's."""
    unique = client_id.rpartition("_")[2]
    if owner_prefix(client_id) is None or not unique or set(unique) - set(_BASE36):
        return False
    return int(unique, 36) & ((1 << _SEQUENCE_BITS) - 1) == sequence
