"""Named situation: the listen key expires mid-session, with fills in the gap, on a whole engine."""

from decimal import Decimal
from pathlib import Path

from pms.engine import EMBEDDED_KEY
from pms.exchange.port import Confirmed
from pms.execution.api import Resting
from pms.model.ids import ClientOrderId
from pms.model.money import Quantity
from pms.model.order import ApprovedOrder, OrderSide, OrderType, SelfMatchPrevention, TimeInForce
from tests.support.laboratory import BTC, LONG, laboratory
from tests.support.waiting import until

MANUAL = ApprovedOrder(
    client_order_id=ClientOrderId("web_by_hand"),
    symbol=BTC,
    side=OrderSide.SELL,
    type=OrderType.MARKET,
    quantity=Quantity(Decimal("0.003")),
    price=None,
    time_in_force=TimeInForce.GTC,
    reduce_only_wire=False,
    self_match=SelfMatchPrevention.EXPIRE_TAKER,
    risk_reducing=False,
)


async def test_the_listen_key_expires_mid_session_with_fills_in_the_gap(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        await lab.account("A")
        await lab.account("B")
        await lab.market("A", LONG, "0.010")
        resting = await lab.limit("B", LONG, "0.020", "59000")
        assert isinstance(resting, Resting)
        stream = lab.parts.exchange.user_stream.statistics
        before = stream()

        # The key expires; until the next connection nothing is told: our limit order fills, and somebody
        # sells by hand. The socket stays open, as on the venue (exchange spec 5.1).
        venue = lab.exchange.venue
        account = venue.engine.account_by_key[EMBEDDED_KEY]
        venue.engine.set_listen_key(account, account.listen_key, 0)
        venue.engine.expire_listen_keys(venue.clock.now_ms())
        lab.exchange.set_quote("BTCUSDT", Decimal("58900"), Decimal("58900.2"), Decimal(1000), Decimal(1000))
        placed = await lab.parts.exchange.trading.place(MANUAL)
        assert isinstance(placed, Confirmed)
        # B's order is booked first, then the foreign sale, from both holders by their lots (decision 11).
        await until(lambda: lab.held("B") == Decimal("0.018"), "the fills of the gap")
        assert lab.held("A") == Decimal("0.009")
        await until(lambda: stream().connected, "the next connection")
        after = stream()
        assert after.keys_lost == before.keys_lost + 1
        assert after.gaps == before.gaps + 1

        # And live events flow again, nothing is booked twice.
        await lab.reset_prices()
        await lab.market("A", LONG, "0.005")
        await lab.settled()
        assert lab.held("A") + lab.held("B") == Decimal("0.032")
        booked = lab.parts.wired.events.statistics
        await until(lambda: booked().fills_booked == 4, "four fills")
        assert booked().fills_duplicate == 0
