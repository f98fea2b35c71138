"""Every Redis key and channel name, with its time to live: the catalogue of Redis spec section 2 as code.

Symbols in keys are unified (`BTC/USDT:USDT`); ids are as in the database. Names are shared with the incumbent
and are never changed here.
"""

from typing import Final

from pms.model.ids import ExchangeOrderId, SubAccountId
from pms.model.symbol import Symbol

SECOND_MS: Final = 1_000
DAY_MS: Final = 86_400 * SECOND_MS

PRICE_TTL_MS: Final = 30 * SECOND_MS
RISK_TTL_MS: Final = 120 * SECOND_MS
ORDER_TTL_MS: Final = DAY_MS
RATE_TTL_MS: Final = 60 * SECOND_MS
CHASE_TTL_MS: Final = DAY_MS
TRAILING_STOP_TTL_MS: Final = DAY_MS
TWAP_TTL_MS: Final = DAY_MS // 2
SCALPER_TTL_MS: Final = 2 * DAY_MS
RESULT_TTL_MS: Final = 30 * SECOND_MS
COMMAND_DONE_TTL_MS: Final = DAY_MS
LEASE_TTL_MS: Final = 15 * SECOND_MS

PREFIX: Final = "pms:"

# 2.1 Existing keys


def price(symbol: Symbol) -> str:
    """Last price, string of `PRICE_TTL_MS` (spec 3.1)."""
    return f"pms:price:{symbol}"


def risk(sub_account_id: SubAccountId) -> str:
    """Risk snapshot, string of `RISK_TTL_MS` (spec 3.2)."""
    return f"pms:risk:{sub_account_id}"


def order(exchange_order_id: ExchangeOrderId) -> str:
    """Whose order that is, string of `ORDER_TTL_MS` (spec 3.3)."""
    return f"pms:order:{exchange_order_id}"


def rate(sub_account_id: SubAccountId) -> str:
    """Order counter of `/fapi`, integer of `RATE_TTL_MS` set on the first hit."""
    return f"pms:rate:{sub_account_id}"


def reconcile_lock(symbol: Symbol) -> str:
    """The one key without our prefix, as the incumbent has it (spec 5.1)."""
    return f"lock:reconcile:{symbol}"


def chase(algo_id: str) -> str:
    """Chase state, string of `CHASE_TTL_MS` (spec 3.4)."""
    return f"pms:chase:{algo_id}"


def trailing_stop(algo_id: str) -> str:
    """Trailing stop state, string of `TRAILING_STOP_TTL_MS` (spec 3.5)."""
    return f"pms:trailstop:{algo_id}"


def twap(algo_id: str) -> str:
    """TWAP state, string of `TWAP_TTL_MS` (spec 3.6)."""
    return f"pms:twap:{algo_id}"


def twap_basket(algo_id: str) -> str:
    """TWAP basket state, string of `TWAP_TTL_MS` (spec 3.7)."""
    return f"pms:twapb:{algo_id}"


def scalper(algo_id: str) -> str:
    """Scalper state, string of `SCALPER_TTL_MS` (spec 3.8)."""
    return f"pms:scalper:{algo_id}"


PUMP_CHASER_PREFIX: Final = "pms:pumpc:"
"""The incumbent's SURF algo: not ours, left untouched."""

BABYSITTER_STATUS_LAST: Final = "pms:babysitter:status:last"
BABYSITTER_HEARTBEAT: Final = "pms:babysitter:heartbeat"
BABYSITTER_COMMANDS: Final = "pms:babysitter:commands"
BABYSITTER_ACTIONS: Final = "pms:babysitter:actions"
BABYSITTER_STATUS: Final = "pms:babysitter:status"
BABYSITTER_FEATURES: Final = "pms:babysitter:features"
BABYSITTER_RESULTS: Final = "pms:babysitter:results"
BABYSITTER_ACTION_GROUP: Final = "pms-babysitter-actions"

# 2.2 Transition keys


def command(command_type: str) -> str:
    """List of commands, pushed right, taken from the left (spec 6.2)."""
    return f"pms:cmd:{command_type}"


def commands_in_flight(instance: str) -> str:
    """List of commands that an instance has taken and not answered."""
    return f"pms:cmd:inflight:{instance}"


def command_done(request_id: str) -> str:
    """Stored result for repeats, string of `COMMAND_DONE_TTL_MS`."""
    return f"pms:cmd:done:{request_id}"


def result(request_id: str) -> str:
    """Result that the asker waits for, string of `RESULT_TTL_MS`."""
    return f"pms:result:{request_id}"


def events_channel(event_type: str) -> str:
    """Pub/sub channel of one browser event name (spec 6.4)."""
    return f"pms:events:{event_type}"


def event_log(sub_account_id: SubAccountId) -> str:
    """Stream with the durable events of an account (spec 6.4)."""
    return f"pms:evlog:{sub_account_id}"


RESULT_READY_CHANNEL: Final = "pms:result-ready"
TICKS_CHANNEL: Final = "pms:ticks"
AUTH_CHANGED_CHANNEL: Final = "pms:auth:changed"
MARKET_DATA_WANTED: Final = "pms:md:want"
USER_STREAM: Final = "pms:ustream"
OWNERS: Final = "pms:owners"


def lease(role: str) -> str:
    """Role lease, string of `LEASE_TTL_MS`: marketdata, userstream, engine, algos, babysitter-actions."""
    return f"pms:lease:{role}"


def fence(role: str) -> str:
    """Counter that gives each lease its fence."""
    return f"pms:fence:{role}"


def reconciled(symbol: Symbol) -> str:
    """Shared debounce after a reconciliation: text of the time, ms (spec 5.1)."""
    return f"pms:reconciled:{symbol}"


def shadow_price(symbol: Symbol) -> str:
    """Comparison copy, never under the real prefix."""
    return f"pms:shadow:price:{symbol}"


def shadow_risk(sub_account_id: SubAccountId) -> str:
    """Comparison copy, never under the real prefix."""
    return f"pms:shadow:risk:{sub_account_id}"
