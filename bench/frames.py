"""Recorded market frames, spread over many symbols: what the stream benchmarks are fed with.

The quotes are those of BTCUSDT and ETHUSDT of 2024-08-08, as received. Each goes, in order, to one of 150
copies of its symbol, so that 300 symbols flow as unevenly as the recording does.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pms.exchange.messages import (
    USDT_MARGINED,
    BookTickerEvent,
    Combined,
    ExchangeInfo,
    MarkPriceEvent,
    SymbolInfo,
    encode_message,
)

RECORDING = (
    Path(__file__).resolve().parents[1] / "src/pms/simulator/recordings/2024-08-08_BTCUSDT_ETHUSDT.jsonl.gz"
)
COPIES = 150
SEED = 8


@dataclass(frozen=True, slots=True)
class Quote:
    """One recorded best bid and ask, for a copy of its symbol."""

    native: str
    bid: str
    bid_quantity: str
    ask: str
    ask_quantity: str

    def frame(self, update_id: int, now_ms: int, ask_quantity: str = "") -> bytes:
        """Return the book ticker frame with the fields of today's wire."""
        event = BookTickerEvent(
            update_id=update_id,
            symbol=self.native,
            bid_price=self.bid,
            bid_quantity=self.bid_quantity,
            ask_price=self.ask,
            ask_quantity=ask_quantity or self.ask_quantity,
            transaction_time=now_ms,
            event_time=now_ms,
            symbol_type=USDT_MARGINED,
            pair=self.native,
        )
        return encode_message(Combined(f"{self.native.lower()}@bookTicker", event))


def natives() -> list[str]:
    """Return the native names of all copies."""
    return [f"{base}{number:03d}USDT" for base in ("BTC", "ETH") for number in range(COPIES)]


def listing() -> ExchangeInfo:
    """Return an exchangeInfo that lists the copies."""
    return ExchangeInfo(
        symbols=[
            SymbolInfo(
                symbol=native,
                contract_type="PERPETUAL",
                status="TRADING",
                base_asset=native.removesuffix("USDT"),
                quote_asset="USDT",
                margin_asset="USDT",
            )
            for native in natives()
        ]
    )


def quotes(count: int) -> Iterator[Quote]:
    """Yield recorded quotes in order; the recording starts again when it ends."""
    choose = Random(SEED)  # noqa: S311 - a seed reproduces the run, nothing secret
    while count > 0:
        with gzip.open(RECORDING, "rb") as lines:
            for line in lines:
                data = json.loads(line)["frame"]["data"]
                if data["e"] != "bookTicker":
                    continue
                native = f"{data['s'][:3]}{choose.randrange(COPIES):03d}USDT"
                yield Quote(native, data["b"], data["B"], data["a"], data["A"])
                count -= 1
                if count <= 0:
                    return


def mark_frame(native: str, price: str, now_ms: int) -> bytes:
    """Return a mark price frame of today's shape."""
    event = MarkPriceEvent(
        event_time=now_ms,
        symbol=native,
        mark_price=price,
        average_price=price,
        index_price=price,
        settle_price=price,
        funding_rate="0.00010000",
        next_funding_time=now_ms + 3_600_000,
        symbol_type=USDT_MARGINED,
    )
    return encode_message(Combined(f"{native.lower()}@markPrice@1s", event))
