"""Every recorded payload decodes into its typed message and encodes back without loss."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pms.exchange import messages as m
from tests.support.paths import shared_data
from tests.unit.exchange.recorded import BATCH, COUNTS, EXCLUDED, FOLDERS

pytestmark = pytest.mark.skipif(shared_data() is None, reason="shared reference data not present")

CASES = [(folder, name) for folder, kinds in FOLDERS.items() for name in kinds]


def root() -> Path:
    shared = shared_data()
    assert shared is not None
    return shared / "binance"


class Number(str):
    """The text of a JSON number: 1.0, 1.00 and "1.0" are three different things."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and str(self) == str(other)

    __hash__ = str.__hash__


def exactly(text: str | bytes) -> Any:
    """Return the JSON with the text of every number kept; key order does not count, everything else does."""
    return json.loads(text, parse_float=Number, parse_int=Number)


def body_of(path: Path) -> str:
    """Return the answer in a file: Binance.Net's endpoints have method, path and a flag before it."""
    text = path.read_text(encoding="utf-8-sig")
    return text.split("\n", 3)[3] if path.suffix == ".txt" else text


def decode(text: str | bytes, kind: Any) -> Any:
    raw = text.encode() if isinstance(text, str) else text
    if kind is not BATCH:
        return msgspec.json.decode(raw, type=kind)
    elements = msgspec.json.decode(raw, type=list[msgspec.Raw])
    return [
        msgspec.json.decode(each, type=m.OrderAnswer if b'"orderId"' in each else m.ErrorBody)
        for each in map(bytes, elements)
    ]


def without_loss(text: str | bytes, kind: Any) -> Any:
    """Decode, encode, compare; return the message."""
    message = decode(text, kind)
    assert exactly(m.encode_message(message)) == exactly(text)
    return message


def script(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (mark, JSON) of a script: `>` sent, `<` and `=` received. `|1|` stands for the request's id."""
    mark, lines = "", list[str]()
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if line[:1] in "><=" and line.strip():
            if mark:
                yield mark, "\n".join(lines)
            mark, lines = line[0], [line[1:]]
        else:
            lines.append(line)
    yield mark, "\n".join(lines)


def test_every_file_is_named_and_counted() -> None:
    found = {path.relative_to(root()).as_posix() for path in root().rglob("*") if path.is_file()}
    suffix = {folder: "txt" if folder.startswith("binance_net") else "json" for folder in FOLDERS}
    covered = {f"{folder}/{name}.{suffix[folder]}" for folder, name in CASES}
    assert covered | EXCLUDED.keys() == found
    assert not covered & EXCLUDED.keys()
    assert Counter(folder for folder, _ in CASES) == COUNTS
    assert sum(COUNTS.values()) == 413
    assert len(EXCLUDED) == 14


@pytest.mark.parametrize(("folder", "name"), [c for c in CASES if not c[0].startswith("binance_net/s")])
def test_file_survives_decoding_and_encoding(folder: str, name: str) -> None:
    suffix = "txt" if folder.startswith("binance_net") else "json"
    without_loss(body_of(root() / folder / f"{name}.{suffix}"), FOLDERS[folder][name])


@pytest.mark.parametrize(("folder", "name"), [c for c in CASES if c[0].startswith("binance_net/s")])
def test_socket_script_survives_decoding_and_encoding(folder: str, name: str) -> None:
    request = m.ApiRequest if folder.endswith("socket") else m.CommandRequest
    kinds = {">": request, "<": m.CommandReply, "=": FOLDERS[folder][name]}
    marks = []
    for mark, text in script(root() / folder / f"{name}.txt"):
        without_loss(text.replace("|1|", "1"), kinds[mark])
        marks.append(mark)
    assert marks in ([">", "="], [">", "<", "="])


def test_every_event_decodes_through_the_reader_of_its_stream() -> None:
    """The two readers choose the type by `e`: they must choose the one that the table names."""
    chosen = Counter[str]()
    for folder in ("streams_sdk", "streams_docs_2026-05", "user_stream_docs"):
        for name, kind in FOLDERS[folder].items():
            text = (root() / folder / f"{name}.json").read_text()
            events = json.loads(text)
            for event in events if isinstance(events, list) else [events]:
                raw = json.dumps(event)
                read = m.decode_user_event if folder.startswith("user") else m.decode_market_event
                message = read(raw)
                assert type(message) in (kind, *getattr(kind, "__args__", ()))
                chosen[type(message).__name__] += 1
    assert len(chosen) == 13 + 10


def test_observed_error_bodies_survive() -> None:
    rows = json.loads((root() / "errors/observed_bodies.json").read_bytes())
    bodies = [row["body"] for row in rows if isinstance(row["body"], dict)]
    for body in bodies:
        without_loss(json.dumps(body), m.ErrorBody)
    assert (len(rows), len(bodies)) == (22, 22)


def test_capture_of_2024_survives() -> None:
    kinds = Counter[str]()
    for line in (root() / "streams_capture_btcusdt_2024-08-08.jsonl").read_text().splitlines():
        text = line.split(" ", 1)[1]
        if '"stream"' in text[:12]:
            frame = without_loss(text, m.Combined[m.MarketEvent])
            kinds[type(frame.data).__name__] += 1
        else:
            kinds[type(without_loss(text, m.Depth)).__name__] += 1
    assert kinds["Depth"] == 1
    assert kinds["DepthEvent"] == 286


def test_current_frames_survive() -> None:
    """Frames of September 2026, with `st`, `ps`, `ap` and `nq`."""
    kinds = Counter[str]()
    with gzip.open(root().parent / "market/ticks/2026-09-27_current_schema_frames.jsonl.gz") as lines:
        for line in lines:
            frame = json.loads(line)["frame"]
            text = json.dumps(frame)
            if isinstance(frame.get("data"), list):
                without_loss(text, m.Combined[list[m.MarketEvent]])
            else:
                kinds[type(without_loss(text, m.Combined[m.MarketEvent]).data).__name__] += 1
    assert sum(kinds.values()) == 60


def test_recorded_user_streams_survive() -> None:
    count = 0
    for path in sorted((root().parent / "market/user-stream").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            event = m.decode_user_event(line)
            assert exactly(m.encode_message(event)) == exactly(line)
            count += 1
    assert count == 17


REFERENCE: dict[str, Any] = {
    "bookTicker_all_2026-07-15": list[m.BookTicker],
    "exchangeInfo_2021-07-21": m.ExchangeInfo,
    "exchangeInfo_2026-07-04": m.ExchangeInfo,
    "fundingInfo_2026-07-04": list[m.FundingInfo],
    "fundingRate_BTCUSDT_2026-06_07": list[m.FundingRate],
    "leverageBracket_2026-05": list[m.SymbolBrackets],
    "premiumIndex_2026-07-04": list[m.PremiumIndex],
}


def test_answers_of_the_real_exchange_survive() -> None:
    """Whole answers of production; one more table of brackets is in another project's own text form."""
    folder = root().parent / "market/reference"
    found = {path.name.removesuffix(".json.gz") for path in folder.glob("*.json.gz")}
    assert found == REFERENCE.keys() | {"leverageBracket_2025-06"}
    for name, kind in REFERENCE.items():
        without_loss(gzip.decompress((folder / f"{name}.json.gz").read_bytes()), kind)
