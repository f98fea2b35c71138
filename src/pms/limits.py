"""Every bound of the system, with its overflow rule; docs/limits.md is made from here.

A start beyond a bound is refused before anything is sent, with a clear error; nothing active is evicted
silently. Each constant says what it bounds and, after "Overflow:", what happens beyond it. The unit is the
last word of the name (before MAX); a name without a unit is a count. The gateway's own bounds, which guard it
against its clients, are beside it in `pms.gateway.bounds`.
"""

# --- Trading state (design, "Bounds") ---

RECENT_FILLS_MAX = 500
"""Recent fill prices kept in memory for display. Overflow: the oldest is dropped; the ledger has all."""

CHASES_MAX = 500
"""Active chases. Overflow: the start is refused with BOUND_REACHED."""

SCALPERS_MAX = 50
"""Active scalpers. Overflow: the start is refused with BOUND_REACHED."""

TWAPS_MAX = 500
"""Active TWAPs. Overflow: the start is refused with BOUND_REACHED."""

TWAP_BASKETS_MAX = 100
"""Active TWAP baskets. Overflow: the start is refused with BOUND_REACHED."""

TRAILING_STOPS_MAX = 500
"""Active trailing stops. Overflow: the start is refused with BOUND_REACHED."""

OPEN_ORDERS_RESERVE = 20
"""Open orders for each symbol kept free for closing, below the exchange's own limit. Overflow: a new
resting order is refused with OPEN_ORDERS_LIMIT; closing orders may use the reserve."""

LIVE_ORDERS_MAX = 20_000
"""Orders that are live, in flight or unknown, in memory. Overflow: a new entry is refused with
BOUND_REACHED."""

QUEUED_COMMANDS_PER_ACCOUNT_MAX = 200
"""Commands that wait in one sub-account's queue. Overflow: entries are refused with BOUND_REACHED;
liquidation and closing are always taken."""

MAINTENANCE_CURVES_MAX = 20_000
"""Maintenance curves kept in memory, one for each symbol and account rate. Overflow: all are dropped and
computed again when asked for."""

LIQUIDATION_WRITES_MAX = 8
"""Operations of liquidations that wait for the ledger at one moment. Overflow: the next ladder waits, so that
commands of other accounts never queue behind a thousand liquidations."""

PREVIEW_STEPS_MAX = 30
"""Steps of the ladder that a preview plays on. Overflow: the preview ends there."""

PREVIEW_ACCOUNTS_MAX = 500
"""Accounts at or above the warning that a preview of the desk names for each move. Overflow: the worst are
named, all are counted."""

# --- Emission ---

PNL_UPDATE_INTERVAL_MS = 50
"""Least time between two `pnl_update` of a position. Overflow: conflated; the last value is always sent."""

MARGIN_UPDATE_INTERVAL_MS = 80
"""Least time between two `margin_update` of an account. Overflow: conflated; the last value is always
sent."""

EVALUATION_INTERVAL_MS = 100
"""Least time between two full evaluations of an account. Overflow: conflated, with a trailing
evaluation."""

EVALUATION_DELAY_MS_MAX = 2_000
"""A tick is evaluated no later than this after it was received, and an account that it moved is looked at no
later than this after the evaluation. Overflow: the delay is counted and logged as a warning."""

PRICE_UPDATE_INTERVAL_MS = 250
"""Least time between two `price_update` of a symbol. Overflow: conflated; the last value is always sent."""

SNAPSHOT_INTERVAL_MS = 1_000
"""Least time between two risk snapshots of an account without a mutation. Overflow: conflated; a mutation
writes at once."""

PUBLISHED_PRICE_INTERVAL_MS = 500
"""Least time between two writes of `pms:price:*` for a symbol. Overflow: conflated; the last value is
written."""

MARGIN_WARNING_INTERVAL_MS = 10_000
"""Least time between two `margin_warning` of an account, and between two reports that a liquidation is
postponed. Overflow: dropped; an account that was calm in between warns at once."""

EXPOSURE_UPDATE_INTERVAL_MS = 250
"""Least time between two `exposure_updated` of a symbol. Overflow: conflated; the last value is always
sent."""

# --- Orders: deadlines ---

ORDER_RESULT_DEADLINE_MS = 5_000
"""How long a request waits for its order to be final. Overflow: EXECUTION_UNKNOWN; proof settles it
later."""

SHUTDOWN_DEADLINE_MS = 2_000
"""Orderly stop of the whole process. Overflow: what still runs is cancelled; recovery settles it at the
next start."""

CONTROL_BATCH_MAX = 50
"""Cancels of a restriction that are on their way at once. Overflow: the rest waits for these."""

CONTROL_RETRY_MS = 1_000
"""Pause before a restriction tries again what was refused or not confirmed. Overflow: not possible."""

RULE_SWEEP_MS = 1_000
"""Time between two looks at every account with further rules: new days, releases, peaks. Overflow: not
possible."""

RULE_ORDERS_KEPT_MAX = 10_000
"""Times of orders that are kept for the order-rate rule of one account. Overflow: the oldest is
forgotten; the rule's own bound is far below."""

# --- Ledger ---

LEDGER_QUEUE_MAX = 10_000
"""Operations that wait for the single writer. Overflow: refused with LedgerBusyError; nothing was written."""

LEDGER_GROUP_MAX = 128
"""Mutations in one commit group. Overflow: the rest goes into the next group."""

LEDGER_LATER_MAX = 12
"""Records of liquidations and the like in one commit group, so that who comes meanwhile waits little for it.
Overflow: the rest goes into the next group; commands and fills go ahead."""

INCOME_REMEMBERED_MAX = 10_000
"""Lines of the real account's income remembered as posted. Overflow: the oldest is asked of the ledger
again."""

# --- Market data ---

WATCHED_SYMBOLS_MAX = 300
"""Symbols with live streams. Overflow: a further watch is refused with BOUND_REACHED; held symbols come
first."""

# --- Exchange ---

EXCHANGE_RESERVE_PERCENT = 20
"""Share of the exchange's request weight and order counts that only risk-reducing orders, cancels and
queries of positions and orders may use. Overflow: other requests are not sent, and told when to retry."""

EXCHANGE_SPENDERS_MAX = 1_000
"""Sub-accounts whose use of the exchange's limits is counted apart. Overflow: counted together as
`others`."""

EXCHANGE_PENDING_MAX = 1_000
"""Requests that wait for their reply on one trading socket. Overflow: further ones go by REST."""

TRADING_STATUS_INTERVAL_MS = 60_000
"""Time between two readings of the exchange's ratios on our trading behaviour. Overflow: not possible."""

CONDUCT_WINDOW_MS = 600_000
"""How far back the parts of sub-accounts in those ratios are counted. Overflow: older orders are
forgotten."""

CONDUCT_PAIRS_MAX = 5_000
"""Pairs of symbol and sub-account whose parts are counted apart, in each half of the window.
Overflow: counted together as `others`."""

CONDUCT_ORDERS_MAX = 20_000
"""Open orders whose end is still to be counted. Overflow: the oldest is not counted."""

# --- Bus ---

BUS_CALL_DEADLINE_MS = 250
"""One call to shared state. Overflow: BusUnavailable; caches drop and count."""

BUS_CONNECTIONS_MAX = 16
"""Connections of the command client. Overflow: a call waits for one, within its deadline."""

BUS_RECONNECT_DELAY_MS_MAX = 2_000
"""Longest pause between two attempts to reach Redis; attempts never end. Overflow: not possible."""

BUS_EVENTS_QUEUE_MAX = 10_000
"""Durable events that wait for Redis. Overflow: the oldest is dropped and counted; readers see the gap in
`seq`."""

BUS_EPHEMERAL_KEYS_MAX = 20_000
"""Ephemeral events that wait for Redis, one for each key. Overflow: a new key is dropped and counted."""

BUS_MAPPINGS_QUEUE_MAX = 10_000
"""Order mappings that wait for Redis. Overflow: the oldest is dropped and counted; the database is the
truth."""

BUS_SNAPSHOTS_MAX = 20_000
"""Accounts whose last snapshot is kept for rewriting. Overflow: the oldest written one is forgotten."""

BUS_PRICES_MAX = 2_000
"""Symbols whose last price is kept for rewriting. Overflow: a further symbol is dropped and counted."""

BUS_BATCH_MAX = 500
"""Writes in one round trip. Overflow: the rest goes into the next."""

BUS_EVENT_LOG_LENGTH = 2_000
"""Entries of `pms:evlog:{subAccountId}`. Overflow: the oldest are trimmed; a reader takes the current
state."""

BUS_STREAM_READ_MAX = 1_000
"""Entries of one stream read. Overflow: the reader reads on from the last id."""

BUS_SUBSCRIPTION_QUEUE_MAX = 1_000
"""Messages that wait in an in-memory subscription. Overflow: the oldest is dropped and counted, as
pub/sub does."""

BUS_MEMORY_KEYS_MAX = 100_000
"""Keys of the in-memory twin. Overflow: expired keys go; then a new key is refused with BusUnavailable."""

BUS_MEMORY_ENTRIES_MAX = 200_000
"""Stream entries of the in-memory twin, over all streams. Overflow: the stream that is written loses its
oldest."""

RECONCILE_LOCK_MS = 30_000
"""Life of a reconcile lock (decision 28). Overflow: it expires, and its holder learns at the next
renewal."""

RECONCILE_RENEWAL_MS = 10_000
"""Time between two renewals of a held reconcile lock. Overflow: not possible."""

RECONCILE_DEBOUNCE_MS = 30_000
"""No second reconciliation of a symbol within this (decision 28). Overflow: not possible."""

RECONCILE_LOCKS_MAX = 2_000
"""Reconcile locks held by this process. Overflow: the lock is not granted."""
