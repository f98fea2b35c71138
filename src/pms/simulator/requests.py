"""From the bytes of a request to its parameters and to what was signed (Binance spec 1.2, 1.3 and 10)."""

from __future__ import annotations

from urllib.parse import parse_qsl

from pms.simulator.errors import Reject

DUPLICATE = Reject(-1101, "Duplicate values for a parameter detected.")


def signed_text(query: str, body: str) -> tuple[str, str]:
    """Return (what was signed, the signature): query and body as received, joined, the signature cut out."""
    signature = ""
    parts = []
    for text in (query, body):
        kept = []
        for item in text.split("&"):
            if item.startswith("signature="):
                signature = item[10:]
            else:
                kept.append(item)
        parts.append("&".join(kept))
    return parts[0] + parts[1], signature


def parameters(query: str, body: str) -> tuple[dict[str, str], Reject | None]:
    """Decode both parts; the query wins over the body. Returns what could be read, and what is wrong with it.

    A name repeated in one part is -1101, an empty value -1105.
    """
    merged: dict[str, str] = {}
    refused: Reject | None = None
    for text in (body, query):
        pairs = parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="replace")
        if len({name for name, _ in pairs}) != len(pairs):
            refused = DUPLICATE
        merged.update(pairs)
    if refused is None:
        empty = next((name for name, value in merged.items() if not value and name != "signature"), None)
        if empty is not None:
            refused = Reject(-1105, f"Parameter '{empty}' was empty.")
    return merged, refused
