"""Forced closing of positions: liquidation, takeover by the insurance fund, deleveraging (spec 7)."""

from __future__ import annotations

LIQUIDATION_PREFIX = "autoclose-"
ADL_PREFIX = "adl_autoclose"
SETTLEMENT_PREFIX = "settlement_autoclose-"
