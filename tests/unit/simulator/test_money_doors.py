"""Liquidation, funding and hedge mode as a client sees them: through the doors, on virtual time."""

from __future__ import annotations

from decimal import Decimal as D

from tests.unit.simulator.in_process import KEY, SECRET, Listener, exchange
from tests.unit.simulator.money_support import HOUR, told

BEFORE_FUNDING = 1_795_017_600_000 - 30_000
"""Half a minute before 00:00 or 08:00 or 16:00 UTC."""


async def test_a_falling_mark_liquidates_step_by_step() -> None:
    async with exchange(accounts=((KEY, SECRET, D(3200)),)) as venue:
        listener, _ = await venue.listen()
        public = Listener()
        venue.simulator.venue.hub.subscribe(public, "market", "!forceOrder@arr")
        assert (await venue.order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1")).status == 200
        resting = {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.5"}
        assert (await venue.order(symbol="BTCUSDT", price="63000", **resting)).status == 200
        await venue.wait(200)
        listener.events.clear()
        venue.simulator.set_quote("BTCUSDT", D("56900.0"), D("56900.1"))
        while not listener.events:
            await venue.wait(20)
        assert told(listener.events) == ["MARGIN_CALL", "order EXPIRED/EXPIRED er5"]
        refused = await venue.order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
        assert (refused.status, refused.code) == (400, -2023)
        await venue.wait(2000)
        assert told(listener.events)[2:] == [
            "TRADE_LITE",
            "order NEW/NEW",
            "account ORDER",
            "order TRADE/FILLED",
            "account INSURANCE_CLEAR",
        ]
        (notice,) = public.events
        assert (notice["e"], notice["o"]["s"], notice["o"]["S"], notice["o"]["z"]) == (
            "forceOrder",
            "BTCUSDT",
            "SELL",
            "1",
        )
        (forced,) = (await venue.signed("GET", "/fapi/v1/forceOrders")).body
        assert forced["clientOrderId"].startswith("autoclose-")
        (balance, *_) = (await venue.signed("GET", "/fapi/v3/balance")).body
        assert D(balance["balance"]) >= 0
        assert (await venue.signed("GET", "/fapi/v3/positionRisk")).body == []


async def test_funding_is_charged_at_the_hour_and_shown_to_everybody() -> None:
    async with exchange(start_ms=BEFORE_FUNDING) as venue:
        await venue.wait(1000)
        await venue.order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="1")
        listener, _ = await venue.listen()
        await venue.wait(28_000)
        assert listener.events == []
        await venue.wait(3000)
        (event,) = listener.events
        assert (event["a"]["m"], event["a"]["S"], event["a"]["P"]) == ("FUNDING_FEE", "BTCUSDT", [])
        (row,) = (await venue.signed("GET", "/fapi/v1/income", incomeType="FUNDING_FEE")).body
        assert (row["time"], row["income"]) == (BEFORE_FUNDING + 30_000, event["a"]["B"][0]["bc"])
        rates = (await venue.raw("GET", "/fapi/v1/fundingRate", "symbol=BTCUSDT")).body
        assert rates[-1]["fundingTime"] == BEFORE_FUNDING + 30_000
        assert D(row["income"]) == (D(rates[-1]["fundingRate"]) * D(rates[-1]["markPrice"])).quantize(
            D("1e-8")
        )
        index = (await venue.raw("GET", "/fapi/v1/premiumIndex", "symbol=BTCUSDT")).body
        assert index["nextFundingTime"] == BEFORE_FUNDING + 30_000 + 8 * HOUR


async def test_a_round_trip_in_hedge_mode() -> None:
    async with exchange() as venue:
        changed = await venue.signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")
        assert changed.body == {"code": 200, "msg": "success"}
        listener, _ = await venue.listen()
        for side, position_side in (("BUY", "LONG"), ("SELL", "SHORT")):
            placed = await venue.order(
                symbol="BTCUSDT", side=side, positionSide=position_side, type="MARKET", quantity="0.5"
            )
            assert placed.status == 200, placed
        rows = (await venue.signed("GET", "/fapi/v3/positionRisk")).body
        assert [(r["positionSide"], r["positionAmt"]) for r in rows] == [
            ("LONG", "0.500"),
            ("SHORT", "-0.500"),
        ]
        again = await venue.signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="false")
        assert again.code == -4068
        for side, position_side in (("SELL", "LONG"), ("BUY", "SHORT")):
            await venue.order(
                symbol="BTCUSDT", side=side, positionSide=position_side, type="MARKET", quantity="0.5"
            )
        await venue.wait(20)
        changes = [e["a"]["P"][0] for e in listener.events if e["e"] == "ACCOUNT_UPDATE"]
        assert [(p["ps"], p["pa"]) for p in changes] == [
            ("LONG", "0.5"),
            ("SHORT", "-0.5"),
            ("LONG", "0"),
            ("SHORT", "0"),
        ]
        assert (await venue.signed("GET", "/fapi/v3/positionRisk")).body == []
