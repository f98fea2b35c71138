"""The ledger in memory: committed state at the bottom, and uncommitted layers that are merged or thrown away.

Invariant: after every success and every failure the bottom layer equals the database. Planners write into a
layer; a failed commit drops the layer, so nothing has to be undone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, Protocol, TypeVar

from pms.ledger.api import HouseLineKind, HousePosition
from pms.ledger.pools import Pool
from pms.model.account import Position, RiskRules, SubAccount
from pms.model.fill import FillKey
from pms.model.ids import ClientOrderId, PendingOrderId, PositionId, SubAccountId
from pms.model.liquidation import LiquidationRecord
from pms.model.money import ZERO
from pms.model.order import ExchangeOrderStatus, JournalOrder
from pms.model.restriction import Restriction, RestrictionEntry
from pms.model.symbol import Symbol
from pms.model.trading_rules import EquityMark, RuleSet

RECENT_FILL_KEYS_MAX = 20_000
RECENT_ORDERS_MAX = 10_000

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """A journal order with what the model does not carry: Σ price x booked quantity, and the exchange's last
    word."""

    order: JournalOrder
    booked_notional: Decimal = ZERO
    final_status: ExchangeOrderStatus | None = None


@dataclass(frozen=True, slots=True)
class ExchangeMirror:
    """The exchange's position of a symbol as its fills imply it (average cost), and the highest trade id
    booked.

    With it the wallet is derived: Σ(cash - signed cost) of everybody + Σ signed cost of the mirror (decision
    7).
    """

    symbol: Symbol
    signed_quantity: Decimal
    signed_cost: Decimal
    last_trade_id: int


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """A sub-account with the revision of its exact row and the sequence of its last durable event."""

    account: SubAccount
    revision: int


@dataclass(frozen=True, slots=True)
class RulesRecord:
    """A `risk_rules` row."""

    row_id: str
    rules: RiskRules


@dataclass(frozen=True, slots=True)
class HouseLimit:
    """A `pms_house_limits` row: the notional at mark that the house may hold, None when the limit was
    lifted."""

    notional_max: Decimal | None


class Overlay(Generic[_K, _V]):
    """A mapping above another one: writes stay here until merged; None marks a deleted key."""

    __slots__ = ("_base", "_data")

    def __init__(self, base: "Overlay[_K, _V] | None" = None) -> None:
        self._base = base
        self._data: dict[_K, _V | None] = {}

    def get(self, key: _K) -> _V | None:
        layer: Overlay[_K, _V] | None = self
        while layer is not None:
            if key in layer._data:
                return layer._data[key]
            layer = layer._base
        return None

    def set(self, key: _K, value: _V | None) -> None:
        if value is None and self._base is None:
            self._data.pop(key, None)
        else:
            self._data[key] = value

    def merge(self) -> None:
        """Move every change into the layer below."""
        if self._base is not None:
            for key, value in self._data.items():
                self._base.set(key, value)
            self._data.clear()

    def trim(self, count_max: int) -> None:
        """Drop the oldest entries beyond `count_max` (bottom layer only)."""
        while len(self._data) > count_max:
            del self._data[next(iter(self._data))]

    def values(self) -> Iterator[_V]:
        """Return every value, seen through all layers."""
        return (value for value in self.flat().values() if value is not None)

    def flat(self) -> Mapping[_K, _V | None]:
        """Return one mapping of all layers; cheap at the bottom."""
        if self._base is None:
            return self._data
        return {**self._base.flat(), **self._data}

    def changed(self) -> Iterator[tuple[_K, _V | None]]:
        """Return what this layer changed."""
        return iter(self._data.items())


class _Mergeable(Protocol):
    def merge(self) -> None: ...


class _Collection(Generic[_K, _V]):
    """A mapping of the book. A layer gets its own when it first asks for it: most operations touch a few of
    them, and layers are made by the thousand."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, book: "Book", owner: type) -> Overlay[_K, _V]:
        base: Overlay[_K, _V] | None = None if book._base is None else getattr(book._base, self._name)
        overlay: Overlay[_K, _V] = Overlay(base)
        book._touched.append(overlay)
        book.__dict__[self._name] = overlay  # found before this descriptor from now on
        return overlay


class Book:
    """All ledger state that decisions need. `Book(base)` is a layer over `base`."""

    accounts = _Collection[SubAccountId, AccountRecord]()
    rules = _Collection[SubAccountId | None, RulesRecord]()
    positions = _Collection[PositionId, Position]()
    open_index = _Collection[tuple[SubAccountId, Symbol], PositionId]()
    orders = _Collection[ClientOrderId, OrderRecord]()
    pending_index = _Collection[PendingOrderId, ClientOrderId]()
    virtual_net = _Collection[Symbol, Decimal]()
    house = _Collection[Symbol, HousePosition]()
    house_cash = _Collection[HouseLineKind, Decimal]()
    # By symbol, `None` for every other; a limit that was lifted is a row without a figure.
    house_limits = _Collection[Symbol | None, HouseLimit]()
    mirror = _Collection[Symbol, ExchangeMirror]()
    owed_rows = _Collection[SubAccountId, bool]()
    fill_keys = _Collection[FillKey, bool]()
    ended = _Collection[ClientOrderId, OrderRecord]()
    pools = _Collection[ClientOrderId, Pool]()
    event_sequence = _Collection[SubAccountId, int]()
    # By account, None for everywhere; released ones stay, their rows exist.
    restrictions = _Collection[SubAccountId | None, tuple[RestrictionEntry, ...]]()
    liquidations = _Collection[SubAccountId, LiquidationRecord]()
    funding_times = _Collection[Symbol, int]()
    watermarks = _Collection[str, int]()
    rule_sets = _Collection[SubAccountId | None, RuleSet]()
    equity_marks = _Collection[SubAccountId, EquityMark]()
    virtual_leverage = _Collection[tuple[SubAccountId, Symbol], Decimal]()

    def __init__(self, base: "Book | None" = None) -> None:
        self._base = base
        self._touched: list[_Mergeable] = []
        self.epoch: str = base.epoch if base else ""
        self.event_epoch: str = base.event_epoch if base else ""
        self.registered_at_ms: int = base.registered_at_ms if base else 0
        self.adopted_at_ms: int = base.adopted_at_ms if base else 0
        self.wallet_adopted: Decimal | None = base.wallet_adopted if base else None
        self.link: int = base.link if base else 0
        self.link_hash: str = base.link_hash if base else ""

    def merge(self) -> None:
        """Make this layer's state the state of the layer below."""
        base = self._base
        if base is None:
            return
        for overlay in self._touched:
            overlay.merge()
        base.epoch, base.wallet_adopted = self.epoch, self.wallet_adopted
        base.adopted_at_ms = self.adopted_at_ms
        base.event_epoch, base.registered_at_ms = self.event_epoch, self.registered_at_ms
        base.link, base.link_hash = self.link, self.link_hash

    def trim(self) -> None:
        """Forget the oldest fill keys and ended orders beyond their bounds; the database still knows them."""
        self.fill_keys.trim(RECENT_FILL_KEYS_MAX)
        self.ended.trim(RECENT_ORDERS_MAX)

    # --- questions ------------------------------------------------------------------------------------------
    def account(self, account_id: SubAccountId) -> SubAccount | None:
        record = self.accounts.get(account_id)
        return None if record is None else record.account

    def find_order(self, client_order_id: ClientOrderId) -> OrderRecord | None:
        """Return an order that is live or ended recently; older ended ones only the database knows."""
        return self.orders.get(client_order_id) or self.ended.get(client_order_id)

    def open_position(self, account_id: SubAccountId, symbol: Symbol) -> Position | None:
        position_id = self.open_index.get((account_id, symbol))
        return None if position_id is None else self.positions.get(position_id)

    def rules_of(self, account_id: SubAccountId) -> RiskRules:
        """Return the account's rules, else the global row's, else the defaults (ledger spec 4.1)."""
        record = self.rules.get(account_id) or self.rules.get(None)
        return RiskRules() if record is None else record.rules

    def rule_set_of(self, account_id: SubAccountId) -> RuleSet | None:
        """Return the further rules in force: the account's own, else the global ones."""
        own = self.rule_sets.get(account_id)
        return own if own is not None and own.rules is not None else self.rule_sets.get(None)

    def restrictions_of(self, account_id: SubAccountId) -> tuple[RestrictionEntry, ...]:
        """Return what is in force everywhere and for the account."""
        entries = (*(self.restrictions.get(None) or ()), *(self.restrictions.get(account_id) or ()))
        return tuple(entry for entry in entries if entry.level)

    def restriction_of(self, account_id: SubAccountId) -> Restriction:
        """Return the strongest of them."""
        return max((entry.level for entry in self.restrictions_of(account_id)), default=Restriction.NONE)

    def house_position(self, symbol: Symbol) -> HousePosition:
        return self.house.get(symbol) or HousePosition(symbol, ZERO, ZERO)

    def house_cash_total(self) -> Decimal:
        return sum(self.house_cash.values(), ZERO)

    def expected_net(self, symbol: Symbol) -> Decimal:
        """Return Σ signed virtual + house quantity (decision 9)."""
        return (self.virtual_net.get(symbol) or ZERO) + self.house_position(symbol).signed_quantity

    def passing_on(self, symbol: Symbol) -> Decimal:
        """Return the signed quantity that the house holds of pooled closes and passes on."""
        held = (pool.pending * pool.side.sign for pool in self.pools.values() if pool.symbol == symbol)
        return sum(held, ZERO)

    def derived_wallet(self) -> Decimal:
        """Return the wallet balance that the exchange must show if every fill, fee and transfer is booked."""
        total = self.house_cash_total() - sum((house.signed_cost for house in self.house.values()), ZERO)
        total += sum((record.account.cash for record in self.accounts.values()), ZERO)
        total -= sum((position.cost * position.side.sign for position in self.positions.values()), ZERO)
        return total + sum((mirror.signed_cost for mirror in self.mirror.values()), ZERO)
