"""Builders for tests that need a ledger: a manual clock, seeded ids, a database in either kind, short-hand
operations."""

import random
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pms.ledger.api import Actor, BookedFill, NewAccount, NewIntent, PoolShare
from pms.ledger.ledger import LedgerService, open_ledger
from pms.model.account import PositionSide, SubAccount
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import (
    ClientOrderId,
    ExchangeAccountId,
    ExchangeOrderId,
    SubAccountId,
    TradeId,
    client_order_id,
)
from pms.model.money import Money, Price, Quantity
from pms.model.order import JournalOrder, OrderCode, OrderSide, OrderType, TimeInForce
from pms.model.symbol import Symbol

BTC = Symbol("BTC/USDT:USDT")
ETH = Symbol("ETH/USDT:USDT")
ACTOR = Actor("tester", "cli")
EXCHANGE = ExchangeAccountId("test-exchange")
FOREIGN_ORDER = ClientOrderId("web_abcdef")
START_MS = 1_768_478_400_000


def money(text: str) -> Money:
    return Money(Decimal(text))


class ManualClock:
    """Time that moves only when a test says so."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.advance(int(seconds * 1000))

    def advance(self, milliseconds: int) -> None:
        self._now_ms += milliseconds


class SeededIds:
    """The same ids for the same seed."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def token(self, byte_count: int) -> str:
        return self._random.randbytes(byte_count).hex()


def liquidation_price(
    side: PositionSide, entry: Decimal, cash: Decimal, notional: Decimal, rate: Decimal, threshold: Decimal
) -> Decimal:
    """Ledger spec 3.4."""
    room = cash - notional * rate / threshold
    quantity = notional / entry
    if side is PositionSide.LONG:
        return max(Decimal(0), entry - room / quantity)
    return entry + room / quantity


def sqlite_url(folder: Path, template: Path | None = None) -> str:
    """The URL of a database file in `folder`, a copy of `template` where one is given."""
    path = folder / "pms.db"
    if template is not None:
        shutil.copy(template, path)
    return f"sqlite:///{path}"


async def opened(
    url: str,
    *,
    owner: str = "engine",
    clock: ManualClock | None = None,
    seed: int = 7,
    charge_open_fees: bool = True,
    foreign_close_allocates: bool = True,
    exchange_close_allocates: bool = True,
    liquidation_fee_rate: str = "0",
) -> LedgerService:
    """An opened ledger that holds the lease."""
    ledger = await open_ledger(
        url,
        EXCHANGE,
        clock or ManualClock(),
        SeededIds(seed),
        liquidation_price,
        charge_open_fees=charge_open_fees,
        foreign_close_allocates=foreign_close_allocates,
        exchange_close_allocates=exchange_close_allocates,
        liquidation_fee_rate=Decimal(liquidation_fee_rate),
    )
    try:
        await ledger.take_lease(owner, 60_000)
    except BaseException:
        await ledger.close()
        raise
    return ledger


@dataclass
class Desk:
    """A ledger with short-hand for orders and fills; it counts order and trade ids as an exchange would."""

    ledger: LedgerService
    trade: int = 0
    exchange_order: int = 8_389_765_000_000_000_000

    async def account(self, name: str = "A", balance: str = "1000") -> SubAccount:
        return await self.ledger.create_account(NewAccount(name, None, Money(Decimal(balance))), ACTOR)

    async def order(
        self,
        owner: SubAccountId | None,
        side: OrderSide,
        quantity: str,
        *,
        symbol: Symbol = BTC,
        price: str | None = None,
        leverage: str = "10",
        reduce_only: bool = False,
        code: OrderCode | None = None,
        action: str = "OPEN",
        origin: str = "MANUAL",
        acknowledge: bool = True,
        shares: tuple[PoolShare, ...] = (),
    ) -> JournalOrder:
        """An intent, acknowledged by the exchange; LIMIT when it has a price."""
        sequence = self.ledger.allocate_sequence()
        code = code or (OrderCode.MARKET if price is None else OrderCode.LIMIT)
        intent = NewIntent(
            sequence=sequence,
            client_order_id=client_order_id(owner, code, self.ledger.fence, sequence),
            sub_account_id=owner,
            symbol=symbol,
            side=side,
            type=OrderType.MARKET if price is None else OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            quantity=Quantity(Decimal(quantity)),
            price=None if price is None else Price(Decimal(price)),
            leverage=Decimal(leverage),
            reduce_only=reduce_only,
            reduce_only_wire=False,
            code=code,
            action=action,
            origin=origin,
            shares=shares,
        )
        order = await self.ledger.record_intent(intent)
        if acknowledge:
            acknowledged = await self.ledger.record_acknowledged(order.client_order_id, self.next_order_id())
            assert acknowledged is not None
            order = acknowledged
        return order

    def next_order_id(self) -> ExchangeOrderId:
        self.exchange_order += 1
        return ExchangeOrderId(str(self.exchange_order))

    def fill(
        self, order: JournalOrder, price: str, quantity: str | None = None, *, trade: int | None = None
    ) -> ExchangeFill:
        """A fill of an order: all that is left of it unless a quantity is given."""
        wanted = order.remaining_quantity if quantity is None else Quantity(Decimal(quantity))
        order_id = order.exchange_order_id or self.next_order_id()
        return self.raw_fill(order.client_order_id, order_id, order.symbol, order.side, price, wanted, trade)

    def foreign(
        self,
        side: OrderSide,
        price: str,
        quantity: str,
        symbol: Symbol = BTC,
        client_id: ClientOrderId = FOREIGN_ORDER,
    ) -> ExchangeFill:
        """A fill of an order that is not ours."""
        return self.raw_fill(
            client_id, self.next_order_id(), symbol, side, price, Quantity(Decimal(quantity)), None
        )

    def raw_fill(
        self,
        client_id: ClientOrderId,
        order_id: ExchangeOrderId,
        symbol: Symbol,
        side: OrderSide,
        price: str,
        quantity: Quantity,
        trade: int | None,
    ) -> ExchangeFill:
        if trade is None:
            self.trade += 1
            trade = self.trade
        return ExchangeFill(
            native_symbol=symbol.split("/")[0] + "USDT",
            symbol=symbol,
            trade_id=TradeId(trade),
            order_id=order_id,
            client_order_id=client_id,
            side=side,
            price=Price(Decimal(price)),
            quantity=quantity,
            fee=Decimal(0),
            fee_asset="USDT",
            maker=False,
            trade_time_ms=START_MS,
            source=FillSource.STREAM,
        )

    async def book(self, fill: ExchangeFill, fee: str = "0") -> BookedFill:
        return await self.ledger.book_fill(fill, Money(Decimal(fee)))

    async def trade_at(
        self,
        owner: SubAccountId | None,
        side: OrderSide,
        quantity: str,
        price: str,
        fee: str = "0",
        *,
        reduce_only: bool = False,
        action: str = "OPEN",
        code: OrderCode | None = None,
        symbol: Symbol = BTC,
        leverage: str = "10",
    ) -> BookedFill:
        """A market order that fills at once and whole."""
        order = await self.order(
            owner,
            side,
            quantity,
            reduce_only=reduce_only,
            action=action,
            code=code,
            symbol=symbol,
            leverage=leverage,
        )
        return await self.book(self.fill(order, price), fee)

    async def buy(self, owner: SubAccountId, quantity: str, price: str, fee: str = "0") -> BookedFill:
        return await self.trade_at(owner, OrderSide.BUY, quantity, price, fee)

    async def sell(self, owner: SubAccountId, quantity: str, price: str, fee: str = "0") -> BookedFill:
        return await self.trade_at(owner, OrderSide.SELL, quantity, price, fee)


def types(booked: BookedFill) -> Sequence[str]:
    """The types of the durable events of a booking, in order."""
    return [event.type for event in booked.committed.events]
