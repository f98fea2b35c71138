"""Everything that can be set about one simulated exchange."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from pms.simulator.latency import LatencyConfig
from pms.simulator.relay import RelayConfig
from pms.simulator.scenario import Scenario
from pms.simulator.synthetic import SyntheticConfig


@dataclass(frozen=True, slots=True)
class Limits:
    """Request limits of the exchange; the defaults are Binance's (spec 1.6). Raise them for load tests."""

    request_weight_1m: int = 2400
    funding_5m: int = 500
    statistics_5m: int = 1000
    refusals_before_ban: int = 20
    ban_ms_min: int = 120_000
    ban_ms_max: int = 259_200_000
    orders_10s: int = 300
    orders_1m: int = 1200
    socket_messages_1s: int = 10
    socket_streams: int = 1024
    socket_market_queue: int = 4096
    socket_user_queue: int = 20_000
    sockets: int = 1000


@dataclass(frozen=True, slots=True)
class Tier:
    """One row of a fee table: maker and taker rate as fractions of the notional; negative is a rebate."""

    maker: Decimal
    taker: Decimal


def _tiers(*rows: tuple[str, str]) -> tuple[Tier, ...]:
    return tuple(Tier(Decimal(maker) / 100, Decimal(taker) / 100) for maker, taker in rows)


USDT_TIERS = _tiers(
    ("0.0200", "0.0500"),
    ("0.0160", "0.0400"),
    ("0.0140", "0.0350"),
    ("0.0120", "0.0320"),
    ("0.0100", "0.0300"),
    ("0.0080", "0.0270"),
    ("0.0060", "0.0250"),
    ("0.0040", "0.0220"),
    ("0.0020", "0.0200"),
    ("0.0000", "0.0170"),
)
USDC_TIERS = _tiers(("0.0000", "0.0400"), ("0.0000", "0.0400"), ("0.0000", "0.0350"), ("0.0000", "0.0320"))


@dataclass(frozen=True, slots=True)
class Fees:
    """Trading fees as fractions of the notional (0.0005 = 0.05 %).

    `maker` and `taker` are the regular ones (tier 0) of contracts not margined in USDC; higher tiers are rows
    of `tiers`. `bnb_discount` is the share saved when fees are paid in BNB.
    """

    maker: Decimal = USDT_TIERS[0].maker
    taker: Decimal = USDT_TIERS[0].taker
    tiers: tuple[Tier, ...] = USDT_TIERS
    usdc_tiers: tuple[Tier, ...] = USDC_TIERS
    bnb_discount: Decimal = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """One simulated exchange.

    `accounts` are (API key, secret, opening wallet in USDT); one already in the data file keeps its wallet.
    `recordings` are replayed together in a loop at `speed` times real time; a symbol found in several is
    taken from the first. `symbols` lists further symbols without a recording, priced by `set_quote`; with
    neither, all reference symbols are listed. `data_path` None keeps everything in memory. `port` 0 takes a
    free one. `admin_token` empty draws a random one. `order_fields_before_2026_06` adds avgPrice and cumQuote
    to the answers of placing and cancelling. Without `funding` no payment falls due; rates are told all the
    same.

    A secret is an HMAC secret, or the PEM text of an RSA or Ed25519 public key. `further_keys` are (an
    account's API key, one more API key of it, secret). `stream_routing` legacy serves every class on the
    unrouted stream paths. `scenario` holds the faults that are armed when the exchange starts. `queue_model`
    (power, risk_averse) says where in a queue others cancel. `latency` delays requests, answers and events.
    `synthetic` makes up the markets of symbols that no recording has, `relay` takes them from another venue.
    `speed` math.inf plays as fast as possible on a clock of its own: market data for anybody, signed requests
    only for who asks that clock. `tls` are the PEM files of a certificate (with its chain) and of its key.
    """

    data_path: Path | None = None
    recordings: tuple[Path, ...] = ()
    speed: float = 1.0
    host: str = "127.0.0.1"
    port: int = 0
    accounts: tuple[tuple[str, str, Decimal], ...] = ()
    symbols: tuple[str, ...] = ()
    fees: Fees = field(default_factory=Fees)
    limits: Limits = field(default_factory=Limits)
    admin_token: str = ""
    default_leverage: int = 20
    queue_model: str = "power"
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    synthetic: SyntheticConfig | None = None
    relay: RelayConfig | None = None
    order_fields_before_2026_06: bool = False
    funding: bool = True
    listen_key_ms: int = 60 * 60 * 1000
    ping_seconds: float = 180.0
    socket_seconds_max: float = 86_400.0
    further_keys: tuple[tuple[str, str, str], ...] = ()
    stream_routing: str = "routed"
    tls: tuple[Path, Path] | None = None
    scenario: Scenario = field(default_factory=Scenario)
