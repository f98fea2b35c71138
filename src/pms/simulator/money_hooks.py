"""Joins the exchange's money side with its market side: funding rates, intervals, liquidation notices."""

from __future__ import annotations

from pms.simulator.config import Limits
from pms.simulator.core import Engine
from pms.simulator.feed import Feed
from pms.simulator.funding import DEFAULT_RATE
from pms.simulator.market_payloads import Liquidation
from pms.simulator.state import Order, text
from pms.simulator.trading_rules import ORDERS_MIN
from pms.simulator.wire_events import entry_text


def join(engine: Engine, feed: Feed, limits: Limits) -> None:
    """Have funding take its rates and intervals from the feed, and the feed tell of liquidations.

    Behaviour is judged from a quarter of the minute's order limit, so that load tests with raised limits
    are not locked out.
    """
    engine.funding.rate_of = lambda symbol: feed.funding_rate.get(symbol, DEFAULT_RATE)
    engine.funding.hours_of = feed.funding_hours
    engine.trading_rules.orders_min = max(ORDERS_MIN, limits.orders_1m // 4)
    engine.liquidator.on_liquidation.append(
        lambda order, now_ms: feed.publish_liquidation(_notice(order, now_ms))
    )


def _notice(order: Order, now_ms: int) -> Liquidation:
    return Liquidation(
        symbol=order.symbol,
        side=order.side,
        quantity=text(order.quantity),
        price=text(order.price),
        average_price=entry_text(order.average_price),
        last_quantity=text(order.executed),
        filled=text(order.executed),
        time_ms=now_ms,
        status="FILLED" if not order.remaining else "EXPIRED",
    )
