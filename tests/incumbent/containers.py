"""The incumbent's position book and bounded map (ledger spec 5.0.8 and section 8), for the golden vectors
only.
"""

from collections.abc import Iterable
from typing import Any

POSITION_FIELDS = (
    "id",
    "symbol",
    "side",
    "entryPrice",
    "quantity",
    "notional",
    "leverage",
    "margin",
    "liquidationPrice",
)


class PositionBook:
    """Entries by account, and a reverse index from symbol to accounts that a deletion leaves behind."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self._accounts_by_symbol: dict[str, dict[str, None]] = {}

    def load(self, entries: dict[str, dict[str, Any]]) -> None:
        for key, given in entries.items():
            positions = {item["id"]: _position(item) for item in given["positions"]}
            self.entries[key] = {
                "account": _account(given["account"]),
                "positions": positions,
                "rules": given.get("rules"),
            }
            for item in positions.values():
                self._index(item["symbol"], key)

    def add(self, position: dict[str, Any], account: dict[str, Any]) -> None:
        key = account["id"]
        if key not in self.entries:
            self.entries[key] = {"account": _account(account), "positions": {}, "rules": None}
        entry = self.entries[key]
        entry["account"]["currentBalance"] = account["currentBalance"]
        entry["positions"][position["id"]] = _position(position)
        self._index(position["symbol"], key)

    def remove(self, position_id: str, key: str) -> None:
        entry = self.entries.get(key)
        position = entry["positions"].pop(position_id, None) if entry else None
        if entry is None or position is None:
            return
        symbol = position["symbol"]
        if all(item["symbol"] != symbol for item in entry["positions"].values()):
            self._accounts_by_symbol.get(symbol, {}).pop(key, None)
        if not entry["positions"]:
            del self.entries[key]

    def delete(self, key: str) -> None:
        self.entries.pop(key, None)

    def update_position(self, position_id: str, key: str, changes: dict[str, Any]) -> None:
        entry = self.entries.get(key)
        if entry and position_id in entry["positions"]:
            entry["positions"][position_id].update(changes)

    def update_balance(self, key: str, balance: float) -> None:
        if key in self.entries:
            self.entries[key]["account"]["currentBalance"] = balance

    def update_status(self, key: str, status: str) -> None:
        if key in self.entries:
            self.entries[key]["account"]["status"] = status

    def accounts_for(self, symbol: str) -> list[str]:
        return list(self._accounts_by_symbol.get(symbol, {}))

    def dump(self) -> dict[str, Any]:
        return {
            key: {**entry, "positions": list(entry["positions"].values())}
            for key, entry in self.entries.items()
        }

    def _index(self, symbol: str, key: str) -> None:
        self._accounts_by_symbol.setdefault(symbol, {})[key] = None


def bounded_map(size_max: int, keys: Iterable[str]) -> dict[str, Any]:
    """Insert keys with their index as value; the oldest key leaves, and a set does not make a key younger."""
    entries: dict[str, int] = {}
    for index, key in enumerate(keys):
        entries[key] = index
        while len(entries) > size_max:
            del entries[next(iter(entries))]
    return {"keys": list(entries), "values": list(entries.values())}


def _account(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": given["id"],
        "name": given["name"],
        "currentBalance": given["currentBalance"],
        "maintenanceRate": given.get("maintenanceRate") or 0.005,
        "liquidationMode": given.get("liquidationMode") or "ADL_30",
        "status": given["status"],
    }


def _position(given: dict[str, Any]) -> dict[str, Any]:
    kept = {name: given[name] for name in POSITION_FIELDS if name in given}
    return {
        **kept,
        "babysitterExcluded": bool(given.get("babysitterExcluded")),
        "openedAt": given.get("openedAt") or None,
    }
