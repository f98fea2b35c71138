"""The options of `pms simulate`, each with its panel, meaning and unit; the command itself is in `cli`."""

from pathlib import Path
from typing import Annotated

import typer

_NETWORK, _ACCOUNTS, _MARKET, _RULES, _FAULTS = "Network", "Accounts", "Market", "Rules", "Faults"

HELP = """Run only the exchange simulator: a Binance USDⓈ-M futures exchange for any client, on one port.

REST at http://HOST:PORT, streams at ws://HOST:PORT/public, /market and /private, the WebSocket API at
ws://HOST:PORT/ws-fapi/v1. Point a client's base addresses there and use the keys given here.
"""
EPILOG = (
    "Amounts are USDT, fees fractions (0.0005 = 0.05 %). A SECRET is an HMAC secret, or @FILE: a PEM file of "
    "an RSA or Ed25519 PUBLIC key. Prices, deposits and faults can be set while it runs, by POST to /sim/... "
    "with the admin token. docs/simulator.md tells how to connect ccxt, python-binance and Binance's SDK, "
    "and what is modelled."
)

Host = Annotated[str, typer.Option(help="Address to listen on.", rich_help_panel=_NETWORK)]
Port = Annotated[
    int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.", rich_help_panel=_NETWORK)
]
StreamRouting = Annotated[
    str,
    typer.Option(
        help="routed: as the venue since 2026-04, /ws and /stream carry public-class data only. "
        "legacy: they carry every class, for clients that have not moved.",
        rich_help_panel=_NETWORK,
    ),
]
AdminToken = Annotated[
    str,
    typer.Option(
        help="Token for /sim/...; without one a random one is printed.",
        envvar="SIMULATOR_TOKEN",
        show_envvar=True,
        rich_help_panel=_NETWORK,
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        help="PEM certificate for https and wss, for clients that insist on them; with --tls-key.",
        rich_help_panel=_NETWORK,
    ),
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", help="PEM private key of --tls-cert.", rich_help_panel=_NETWORK)
]
DataPath = Annotated[
    Path | None,
    typer.Option(
        "--data-path",
        help="File that keeps accounts, orders, trades and ids across restarts; without it nothing is kept.",
        rich_help_panel=_ACCOUNTS,
    ),
]
ApiKey = Annotated[
    str, typer.Option(help="Key of the first account.", envvar="BINANCE_API_KEY", rich_help_panel=_ACCOUNTS)
]
ApiSecret = Annotated[
    str,
    typer.Option(
        help="Its secret, or @FILE.",
        envvar="BINANCE_API_SECRET",
        metavar="SECRET",
        rich_help_panel=_ACCOUNTS,
    ),
]
Wallet = Annotated[str, typer.Option(help="Its opening wallet, USDT.", rich_help_panel=_ACCOUNTS)]
Accounts = Annotated[
    list[str] | None,
    typer.Option(
        "--account",
        metavar="KEY,SECRET,WALLET",
        help="A further account; may be repeated.",
        rich_help_panel=_ACCOUNTS,
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="ACCOUNT,KEY,SECRET",
        help="A further API key of an account (named by its first key), for example an Ed25519 one; "
        "may be repeated.",
        rich_help_panel=_ACCOUNTS,
    ),
]
Recording = Annotated[
    str,
    typer.Option(
        help="What is replayed, in a loop: calm, funding, crash, demo (calm and crash), or a file.",
        rich_help_panel=_MARKET,
    ),
]
Symbols = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="Symbols without a recording instead, quiet until /sim/quote prices them.",
        rich_help_panel=_MARKET,
    ),
]
Synthetic = Annotated[
    str,
    typer.Option(
        metavar="REGIME:SECONDS,...",
        help="Made-up markets of --symbols instead of a recording: calm, trend, gap, crash; -trend falls. "
        "Drawn from --seed.",
        rich_help_panel=_MARKET,
    ),
]
Relay = Annotated[
    str,
    typer.Option(
        metavar="REST,STREAMS",
        help="Relay --symbols live from another venue, for example "
        "https://fapi.binance.com,wss://fstream.binance.com or another simulator.",
        rich_help_panel=_MARKET,
    ),
]
Speed = Annotated[
    str,
    typer.Option(
        metavar="FACTOR",
        help="Replay speed, 0.01 to 1000; 1 is real time. max: as fast as possible, on a clock of its own "
        "that runs away from yours, for market data.",
        rich_help_panel=_MARKET,
    ),
]
QueueModel = Annotated[
    str,
    typer.Option(
        help="power: others cancel more often behind you. risk_averse: only behind you.",
        rich_help_panel=_RULES,
    ),
]
Latency = Annotated[
    str,
    typer.Option(
        metavar="REQUEST,EVENT,JITTER",
        help="Delays in ms of requests, of answers and events, and what is drawn on top of each.",
        rich_help_panel=_RULES,
    ),
]
Leverage = Annotated[
    int, typer.Option(min=1, max=125, help="Leverage of new symbols.", rich_help_panel=_RULES)
]
MakerFee = Annotated[
    str, typer.Option(metavar="FRACTION", help="Maker fee of tier 0.", rich_help_panel=_RULES)
]
TakerFee = Annotated[
    str, typer.Option(metavar="FRACTION", help="Taker fee of tier 0.", rich_help_panel=_RULES)
]
Limits = Annotated[
    str,
    typer.Option(
        help="venue: 2400 weight a minute, 300 orders in 10 s, 1200 a minute, bans for who goes on. "
        "none: no limits, for load tests.",
        rich_help_panel=_RULES,
    ),
]
OldOrderFields = Annotated[
    bool,
    typer.Option(
        "--old-order-fields",
        help="Answers to placing and cancelling carry avgPrice and cumQuote, as before 2026-06-30.",
        rich_help_panel=_RULES,
    ),
]
NoFunding = Annotated[
    bool,
    typer.Option("--no-funding", help="Rates are told, and nobody pays.", rich_help_panel=_RULES),
]
Faults = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="A scenario of faults: flaky-network, maintenance, overload, silent-streams, forced-closing, "
        "or a .toml or .json file.",
        rich_help_panel=_FAULTS,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Seed of the scenario, instead of the file's, of synthetic markets and of jitter; the same seed "
        "and traffic give the same faults.",
        rich_help_panel=_FAULTS,
    ),
]
