"""Simulated fills beside the recorded tape: the claims of docs/fidelity.md, on a slice of each recording."""

from __future__ import annotations

import pytest

from bench.fidelity.measure import measure
from pms.simulator import recording


@pytest.mark.parametrize(("name", "seconds"), [("calm", 8.0), ("funding", 25.0)])
def test_fills_agree_with_the_tape(name: str, seconds: float) -> None:
    result = measure(recording(name), seconds)
    assert result.aggressive.orders >= 100
    assert result.aggressive.share >= 0.99
    # Nearly every taker of the tape is measured, not only those that suit us.
    assert result.aggressive.small <= 0.05 * result.aggressive.orders
    assert result.in_sequence.orders == result.aggressive.orders
    assert len(result.passive) >= 12
    assert all(order.inside for order in result.passive)
    assert any(order.filled is not None and order.filled != order.back for order in result.passive)
