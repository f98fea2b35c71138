"""Where the exchange is and how it is spoken to: hosts, keys, windows, deadlines and bounds."""

from dataclasses import dataclass, field, replace

from pms.limits import EXCHANGE_RESERVE_PERCENT
from pms.model.money import SETTLE_ASSET


class Secret:
    """Text that never shows in a log, a traceback or a repr."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for signing only."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(****)" if self._text else "Secret()"

    def __bool__(self) -> bool:
        return bool(self._text)


@dataclass(frozen=True, slots=True)
class StreamTuning:
    """Deadlines, pace and bounds of the sockets. Seconds, unless the name says otherwise.

    A venue ends every connection after 24 h and counts handshakes; a socket is replaced, with overlap, after
    `rotation_seconds_max` less a random part of `rotation_spread_seconds`, so that not all go together.

    Overflow rules: more streams than one socket may carry open another, beyond `streams_max` of a class a
    wish is refused; more events held than `overlap_events_max` end an overlap early; a full user-event buffer
    drops the socket and the gap is queried (no silent loss); market values have one slot for each symbol and
    kind, where the newest replaces the older (decision 22).
    """

    connect_seconds_max: float = 5.0
    first_frame_seconds_max: float = 15.0
    stale_seconds: float = 10.0
    silence_seconds_max: float = 60.0
    watch_seconds: float = 0.5
    ping_idle_seconds: float = 20.0
    ping_reply_seconds_max: float = 10.0
    backoff_seconds_min: float = 0.5
    backoff_seconds_max: float = 30.0
    steady_seconds: float = 10.0
    commands_per_second_max: float = 8.0
    streams_per_command_max: int = 100
    streams_per_socket_max: int = 200
    streams_max: int = 2000
    connects_at_once_max: int = 6
    connect_spacing_seconds: float = 1.5
    rotation_seconds_max: float = 82_800.0
    rotation_spread_seconds: float = 10_800.0
    overlap_seconds_min: float = 1.0
    overlap_seconds_max: float = 30.0
    overlap_events_max: int = 50_000
    deliveries_per_turn_max: int = 64
    trades_max: int = 10_000
    late_ms_max: int = 10_000
    user_events_max: int = 10_000
    user_overlap_seconds: float = 5.0
    gap_spacing_seconds: float = 5.0
    user_quiet_seconds: float = 120.0
    listen_key_seconds: float = 1800.0
    listen_key_retry_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class BinanceConfig:
    """One exchange account at one venue. `api_secret` never shows in a repr.

    `recv_window_ms` is the longest validity of a signed order; with a lease it is cut further, so that no
    order of this engine can act after its lease (decision 28). `lease_margin_ms` is kept between both.
    `trade_by_socket` sends single orders over the WebSocket API, whose connections end after 24 h and are
    replaced before (`socket_rotation_seconds`). `reserve_percent` of the shared request limits is kept for
    reducing risk (decision 22).
    """

    rest_url: str
    ws_public_url: str
    ws_market_url: str
    ws_private_url: str
    ws_api_url: str = ""
    api_key: str = ""
    api_secret: Secret = field(default_factory=lambda: Secret(""))
    settle_asset: str = SETTLE_ASSET
    recv_window_ms: int = 2000
    lease_margin_ms: int = 500
    deadline_seconds: float = 5.0
    connect_seconds_max: float = 3.0
    connections_max: int = 100
    keepalive_seconds: float = 30.0
    clock_sync_seconds: float = 60.0
    symbols_refresh_seconds: float = 3600.0
    trade_by_socket: bool = False
    socket_rotation_seconds: float = 82_800.0
    reserve_percent: int = EXCHANGE_RESERVE_PERCENT
    streams: StreamTuning = field(default_factory=StreamTuning)

    @staticmethod
    def at(base_http: str, base_ws: str, api_key: str = "", api_secret: str = "") -> "BinanceConfig":
        """Return the configuration for any venue, such as a simulator, from its two base addresses."""
        websocket = base_ws.rstrip("/")
        return BinanceConfig(
            rest_url=base_http.rstrip("/"),
            ws_public_url=f"{websocket}/public",
            ws_market_url=f"{websocket}/market",
            ws_private_url=f"{websocket}/private",
            ws_api_url=f"{websocket}/ws-fapi/v1",
            api_key=api_key,
            api_secret=Secret(api_secret),
        )

    @staticmethod
    def production(api_key: str = "", api_secret: str = "") -> "BinanceConfig":
        """Return the configuration for the real exchange (Binance spec 1.1)."""
        config = BinanceConfig.at(
            "https://fapi.binance.com", "wss://fstream.binance.com", api_key, api_secret
        )
        return replace(config, ws_api_url="wss://ws-fapi.binance.com/ws-fapi/v1")

    @staticmethod
    def testnet(api_key: str = "", api_secret: str = "") -> "BinanceConfig":
        """Return the configuration for the exchange's demo venue (Binance spec 1.1)."""
        config = BinanceConfig.at(
            "https://demo-fapi.binance.com", "wss://fstream.binancefuture.com", api_key, api_secret
        )
        return replace(config, ws_api_url="wss://testnet.binancefuture.com/ws-fapi/v1")
