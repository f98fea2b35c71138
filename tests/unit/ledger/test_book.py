"""Layers of the book, merged row writes, and the statements made of them."""

from decimal import Decimal

import pytest

from pms.ledger.book import Book, Overlay
from pms.ledger.errors import LedgerError
from pms.ledger.rows import RowWrite, chain_entries, merge_writes, row_digest
from pms.ledger.statements import batches, placeholders, together
from pms.model.account import RiskRules
from pms.model.ids import SubAccountId
from pms.model.symbol import Symbol

SYMBOL = Symbol("BTC/USDT:USDT")


def test_a_layer_hides_and_reveals() -> None:
    bottom: Overlay[str, int] = Overlay()
    bottom.set("a", 1)
    bottom.set("b", 2)
    layer = Overlay(bottom)
    layer.set("a", None)
    layer.set("c", 3)
    assert (layer.get("a"), layer.get("b"), layer.get("c")) == (None, 2, 3)
    assert sorted(layer.values()) == [2, 3]
    assert (bottom.get("a"), bottom.get("c")) == (1, None)
    top = Overlay(layer)
    top.set("a", 9)
    top.merge()
    layer.merge()
    assert dict(bottom.flat()) == {"a": 9, "b": 2, "c": 3}


def test_a_dropped_layer_leaves_nothing() -> None:
    book = Book()
    layer = Book(book)
    layer.link = 7
    layer.virtual_net.set("x", Decimal(1))  # type: ignore[arg-type]
    del layer
    assert (book.link, list(book.virtual_net.values())) == (0, [])


def test_the_oldest_entries_are_forgotten_beyond_the_bound() -> None:
    bottom: Overlay[int, bool] = Overlay()
    for number in range(10):
        bottom.set(number, True)
    bottom.trim(3)
    assert list(bottom.flat()) == [7, 8, 9]


def test_rules_fall_back_to_the_defaults() -> None:
    assert Book().rules_of(SubAccountId("nobody")) == RiskRules()


def write(key: str, insert: bool, **values: int) -> RowWrite:
    full = {"sub_account_id": key, "exchange_account_id": "x", **values} if insert else dict(values)
    return RowWrite("pms_owed", ("x", key), full, insert)  # type: ignore[arg-type]


def test_writes_of_one_row_become_one() -> None:
    merged = merge_writes(
        [
            write("a", True, amount=1),
            write("b", False, amount=5),
            write("a", False, amount=2),
            write("b", False, amount=6),
        ]
    )
    assert [(one.key[1], one.insert, one.values["amount"]) for one in merged] == [
        ("a", True, 2),
        ("b", False, 6),
    ]
    with pytest.raises(LedgerError, match="inserted once"):
        merge_writes([write("a", True, amount=1), write("a", True, amount=1)])


def test_a_link_has_a_line_for_each_chained_row() -> None:
    one = write("a", True, amount=1)
    outbox = RowWrite("pms_outbox", ("x", "a", 1), {"exchange_account_id": "x"}, True)
    assert chain_entries([one, outbox]) == f"pms_owed/a {row_digest('pms_owed', one.key, one.values)}"
    with pytest.raises(LedgerError, match="carries"):
        chain_entries([write("a", False, updated_at=1)])


def test_updates_come_before_inserts_and_share_statements() -> None:
    writes = [write("a", True, amount=1), write("c", True, amount=3), write("b", False, amount=6)]
    update, insert = batches("sqlite", writes)
    assert update.sql.startswith("UPDATE")
    assert (update.rows, len(insert.rows)) == ([("6", "x", "b")], 2)
    update, insert = batches("postgresql", writes)
    assert "unnest" in insert.sql
    assert update.rows == [(Decimal(6), "x", "b")]


def test_placeholders() -> None:
    assert placeholders("sqlite", "a = ? AND b = ?") == "a = ? AND b = ?"
    assert placeholders("postgresql", "a = ? AND b = ?") == "a = $1 AND b = $2"


def test_a_layer_holds_only_what_was_asked_of_it_and_merges_all_of_that() -> None:
    bottom = Book()
    middle = Book(bottom)
    top = Book(middle)
    top.virtual_net.set(SYMBOL, Decimal(1))
    assert set(vars(top)) & {"virtual_net", "accounts", "orders"} == {"virtual_net"}
    assert top.virtual_net is top.virtual_net
    top.merge()
    assert (middle.virtual_net.get(SYMBOL), bottom.virtual_net.get(SYMBOL)) == (Decimal(1), None)
    middle.merge()
    assert bottom.virtual_net.get(SYMBOL) == Decimal(1)


def test_several_statements_become_one_that_counts_the_rows_of_each() -> None:
    one = together(("UPDATE a SET x = $2 WHERE k = $1", "INSERT INTO b SELECT $1, $2, $12"))
    assert one == (
        "WITH b0 AS (UPDATE a SET x = $2 WHERE k = $1 RETURNING 1), "
        "b1 AS (INSERT INTO b SELECT $3, $4, $14 RETURNING 1) "
        "SELECT (SELECT count(*) FROM b0), (SELECT count(*) FROM b1)"
    )
