"""Key names and lives are a contract with the incumbent: written out here once more, from the spec."""

from pms.bus import keys
from pms.model.ids import ExchangeOrderId, SubAccountId
from pms.model.symbol import Symbol

BTC = Symbol("BTC/USDT:USDT")
ALICE = SubAccountId("a11ce000-0000-4000-8000-000000000001")


def test_names_are_those_of_the_catalogue() -> None:
    assert {
        keys.price(BTC),
        keys.risk(ALICE),
        keys.order(ExchangeOrderId("8389765000000000001")),
        keys.rate(ALICE),
        keys.reconcile_lock(BTC),
        keys.reconciled(BTC),
        keys.chase("1"),
        keys.trailing_stop("1"),
        keys.twap("1"),
        keys.twap_basket("1"),
        keys.scalper("1"),
        keys.command("trade"),
        keys.commands_in_flight("i"),
        keys.command_done("r"),
        keys.result("r"),
        keys.events_channel("order_filled"),
        keys.event_log(ALICE),
        keys.lease("engine"),
        keys.fence("engine"),
        keys.shadow_price(BTC),
        keys.shadow_risk(ALICE),
    } == {
        "pms:price:BTC/USDT:USDT",
        f"pms:risk:{ALICE}",
        "pms:order:8389765000000000001",
        f"pms:rate:{ALICE}",
        "lock:reconcile:BTC/USDT:USDT",
        "pms:reconciled:BTC/USDT:USDT",
        "pms:chase:1",
        "pms:trailstop:1",
        "pms:twap:1",
        "pms:twapb:1",
        "pms:scalper:1",
        "pms:cmd:trade",
        "pms:cmd:inflight:i",
        "pms:cmd:done:r",
        "pms:result:r",
        "pms:events:order_filled",
        f"pms:evlog:{ALICE}",
        "pms:lease:engine",
        "pms:fence:engine",
        "pms:shadow:price:BTC/USDT:USDT",
        f"pms:shadow:risk:{ALICE}",
    }


def test_lives_are_those_of_the_catalogue() -> None:
    lives_seconds = {
        "price": keys.PRICE_TTL_MS,
        "risk": keys.RISK_TTL_MS,
        "order": keys.ORDER_TTL_MS,
        "rate": keys.RATE_TTL_MS,
        "chase": keys.CHASE_TTL_MS,
        "trailstop": keys.TRAILING_STOP_TTL_MS,
        "twap": keys.TWAP_TTL_MS,
        "scalper": keys.SCALPER_TTL_MS,
        "result": keys.RESULT_TTL_MS,
        "done": keys.COMMAND_DONE_TTL_MS,
        "lease": keys.LEASE_TTL_MS,
    }
    assert {name: life / 1000 for name, life in lives_seconds.items()} == {
        "price": 30,
        "risk": 120,
        "order": 86_400,
        "rate": 60,
        "chase": 86_400,
        "trailstop": 86_400,
        "twap": 43_200,
        "scalper": 172_800,
        "result": 30,
        "done": 86_400,
        "lease": 15,
    }
