"""Decoding of each hot message: microseconds for one, as percentiles.

The messages have the sizes and fields of those recorded in 2024 and 2026; the exchange's symbols are the
recorded answer that the simulator ships.
"""

import gzip
import time
from collections.abc import Callable

import msgspec

from bench.frames import RECORDING, mark_frame, quotes
from bench.machine import machine, percentile
from pms.exchange import messages as m

ROUNDS = 20_000
ROUNDS_BIG = 60
BATCH = 20
"""Calls timed together: a single one is shorter than the clock can tell."""

NOW = 1_790_526_547_773
ORDER_ID = 8_389_765_917_312_345_678
CLIENT_ORDER_ID = "PMS1a2b3c4d_LM_0k3v9x1q"
_FILL = m.OrderUpdate(
    symbol="ETHUSDC",
    client_order_id=CLIENT_ORDER_ID,
    side="BUY",
    order_type="LIMIT",
    time_in_force="GTC",
    original_quantity="0.040",
    price="2312.5",
    average_price="2312.50",
    execution_type="TRADE",
    status="FILLED",
    order_id=ORDER_ID,
    last_quantity="0.040",
    cumulative_quantity="0.040",
    last_price="2312.5",
    trade_time=NOW,
    trade_id=3_123_456_789,
    commission_asset="USDC",
    commission="0.01850000",
    original_type="LIMIT",
    realized_profit="1.05000000",
    self_trade_prevention_mode="EXPIRE_MAKER",
    price_match="NONE",
    good_till_date=0,
    expiry_reason="0",
)
_POSITION = m.PositionChange("ETHUSDC", "0.040", "2312.5", "12.10", "0.02", break_even_price="2313.656")
_ANSWER = m.OrderAnswer(
    order_id=ORDER_ID,
    symbol="ETHUSDC",
    status="NEW",
    client_order_id=CLIENT_ORDER_ID,
    price="2312.5",
    orig_qty="0.040",
    executed_qty="0.000",
    cum_qty="0.000",
    time_in_force="GTC",
    type="LIMIT",
    reduce_only=False,
    close_position=False,
    side="BUY",
    position_side="BOTH",
    stop_price="0.00",
    working_type="CONTRACT_PRICE",
    price_protect=False,
    orig_type="LIMIT",
    price_match="NONE",
    self_trade_prevention_mode="EXPIRE_MAKER",
    good_till_date=0,
    update_time=NOW,
)
_RISK = m.PositionRisk(
    symbol="ETHUSDC",
    position_side="BOTH",
    position_amt="0.040",
    entry_price="2312.5",
    break_even_price="2313.6",
    mark_price="2313.10000000",
    unrealized_profit="0.02400000",
    liquidation_price="0",
    isolated_margin="0",
    notional="92.52400000",
    margin_asset="USDC",
    isolated_wallet="0",
    initial_margin="9.25240000",
    maint_margin="0.37009600",
    position_initial_margin="9.25240000",
    open_order_initial_margin="0",
    adl=1,
    bid_notional="0",
    ask_notional="0",
    update_time=NOW,
)
_TRADE = m.AggTradeEvent(
    NOW, "BTCUSDT", 2_345_678_901, "61800.30", "0.006", 5_266_583_935, 5_266_583_936, NOW, False, 1, "0.006"
)
_LEVELS = [[f"{61_800 - number * 0.1:.2f}", f"{number * 0.317:.3f}"] for number in range(1, 21)]
_DEPTH = m.DepthEvent(
    NOW, NOW, "BTCUSDT", 5_123_107_838_717, 5_123_107_839_717, 5_123_107_838_700, _LEVELS, _LEVELS, 1
)


def cases() -> list[tuple[str, int, Callable[[], object]]]:
    """Return name, bytes and call of each message."""
    found: list[tuple[str, int, Callable[[], object]]] = []

    def add(name: str, raw: bytes, read: Callable[[bytes], object]) -> None:
        found.append((name, len(raw), lambda: read(raw)))

    def answer(kind: type[object]) -> Callable[[bytes], object]:
        decoder = msgspec.json.Decoder(kind)
        return lambda raw: m.decode_message(decoder, raw)

    encoded = m.encode_message
    change = m.AccountChange("ORDER", [m.BalanceChange("USDC", "1012.31", "1012.31")], [_POSITION])
    add("book ticker frame", next(quotes(1)).frame(1, NOW), m.decode_market_frame)
    add("mark price frame", mark_frame("BTCUSDT", "61800.10000000", NOW), m.decode_market_frame)
    add("aggregate trade frame", encoded(m.Combined("btcusdt@aggTrade", _TRADE)), m.decode_market_frame)
    add("depth frame, 20 levels a side", encoded(m.Combined("btcusdt@depth", _DEPTH)), m.decode_market_frame)
    add("ORDER_TRADE_UPDATE", encoded(m.OrderTradeUpdate(NOW, NOW, _FILL)), m.decode_user_event)
    add("ACCOUNT_UPDATE", encoded(m.AccountUpdate(NOW, NOW, change)), m.decode_user_event)
    add("order answer", encoded(_ANSWER), answer(m.OrderAnswer))
    add("50 open orders", encoded([_ANSWER] * 50), answer(list[m.OrderAnswer]))
    add("20 positions", encoded([_RISK] * 20), answer(list[m.PositionRisk]))
    symbols = gzip.decompress((RECORDING.parent / "exchangeInfo_2026-07-04.json.gz").read_bytes())
    add("exchangeInfo", symbols, answer(m.ExchangeInfo))
    return found


def main() -> None:
    """Print the figures."""
    print("decoding, microseconds for one message")
    print(f"  machine: {machine()}")
    for name, size, call in cases():
        big = size > 100_000
        batch = 1 if big else BATCH
        samples = []
        for _ in range(ROUNDS_BIG if big else ROUNDS // BATCH):
            before = time.perf_counter_ns()
            for _ in range(batch):
                call()
            samples.append((time.perf_counter_ns() - before) / 1000 / batch)
        p50, p90, p99 = (percentile(samples, fraction) for fraction in (0.5, 0.9, 0.99))
        print(f"  {name:30} {size:9,} bytes: p50 {p50:9.2f}, p90 {p90:9.2f}, p99 {p99:9.2f}")


if __name__ == "__main__":
    main()
