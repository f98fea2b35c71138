"""The recordings and reference answers that ship inside the package, by name."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import msgspec

from pms.exchange.messages import ExchangeInfo, SymbolBrackets
from pms.simulator.errors import SimulatorError
from pms.simulator.rules import SymbolRules, rules_of

FOLDER = Path(__file__).with_name("recordings")

RECORDINGS: dict[str, tuple[str, ...]] = {
    "calm": ("2024-08-08_BTCUSDT_ETHUSDT.jsonl.gz",),
    "funding": ("2023-04-05_BTCUSDT_mark.jsonl.gz",),
    "crash": ("2025-05-05_single_symbol_crash_1m.csv.gz",),
    "demo": ("2024-08-08_BTCUSDT_ETHUSDT.jsonl.gz", "2025-05-05_single_symbol_crash_1m.csv.gz"),
}


def recording(name: str) -> Path:
    """Return the file of a built-in recording that is one file. Raises `SimulatorError` for other names."""
    files = recordings(name)
    if len(files) != 1:
        raise SimulatorError(f"The recording '{name}' is a set of files; use recordings('{name}').")
    return files[0]


def recordings(name: str) -> tuple[Path, ...]:
    """Return the files of a built-in recording or set. Raises `SimulatorError` for unknown names."""
    if name not in RECORDINGS:
        known = ", ".join(sorted(RECORDINGS))
        raise SimulatorError(f"There is no built-in recording '{name}'. Known: {known}; or give a file.")
    return tuple(FOLDER / file for file in RECORDINGS[name])


def files_of(recording: str) -> tuple[Path, ...]:
    """Return the files behind a built-in name, or the file itself for anything that looks like a path."""
    looks_like_path = "." in recording or "/" in recording
    return (Path(recording),) if looks_like_path and recording not in RECORDINGS else recordings(recording)


def _read(name: str) -> bytes:
    try:
        return gzip.decompress((FOLDER / name).read_bytes())
    except (OSError, EOFError) as error:
        where = FOLDER / name
        raise SimulatorError(f"The packaged file {where} cannot be read: {error}. Reinstall pms.") from error


def reference_info() -> ExchangeInfo:
    """Return the recorded exchangeInfo, cut to the symbols named in the README beside it."""
    return msgspec.json.decode(_read("exchangeInfo_2026-07-04.json.gz"), type=ExchangeInfo)


def reference_rules(info: ExchangeInfo) -> dict[str, SymbolRules]:
    """Return filters and leverage brackets of every symbol of `info`."""
    tables = msgspec.json.decode(_read("leverageBracket_2026-05.json.gz"), type=list[SymbolBrackets])
    brackets = {table.symbol: tuple(table.brackets) for table in tables}
    return {s.symbol: rules_of(s, brackets.get(s.symbol, ())) for s in info.symbols}


def reference_funding_info() -> dict[str, dict[str, object]]:
    """Return the recorded rows of GET fundingInfo by symbol: interval, cap and floor of the rate."""
    rows = msgspec.json.decode(_read("fundingInfo_2026-07-04.json.gz"), type=list[dict[str, object]])
    return {str(row["symbol"]): row for row in rows}


def reference_funding() -> dict[str, list[tuple[int, str]]]:
    """Return settled funding rates by symbol, oldest first: (time ms, rate as a fraction)."""
    rates: dict[str, list[tuple[int, str]]] = {}
    for line in _read("funding_rates.csv.gz").decode().splitlines()[1:]:
        time_ms, symbol, rate = line.split(",")
        rates.setdefault(symbol, []).append((int(time_ms), f"{Decimal(rate):.8f}"))
    return rates
