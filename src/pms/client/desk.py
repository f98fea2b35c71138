"""What the client returns about all accounts together: exposure, and previews at other prices."""

import msgspec


class PreviewStep(msgspec.Struct, frozen=True, rename="camel"):
    """WARN, a partial close (with position and quantity), or the label of a full liquidation or takeover."""

    action: str
    margin_ratio: float
    position_id: str | None
    symbol: str | None
    quantity: float | None
    closes_all: bool


class PreviewPosition(msgspec.Struct, frozen=True, rename="camel"):
    position_id: str
    symbol: str
    side: str
    quantity: float
    mark_price: float
    unrealized_pnl: float
    liquidation_price: float


class Preview(msgspec.Struct, frozen=True, rename="camel"):
    """An account at other prices; `ladder` is what would be done there. `unpriced` moved from their entry."""

    sub_account_id: str
    equity: float
    equity_raw: float
    unrealized_pnl: float
    margin_used: float
    available_margin: float
    maintenance_margin: float
    margin_ratio: float
    level: str
    liquidation_mode: str
    account_liq_price: float | None
    positions: tuple[PreviewPosition, ...]
    ladder: tuple[PreviewStep, ...]
    unpriced: tuple[str, ...]


class DeskAccount(msgspec.Struct, frozen=True, rename="camel"):
    sub_account_id: str
    name: str
    level: str
    margin_ratio: float
    equity_raw: float
    maintenance_margin: float


class DeskPreview(msgspec.Struct, frozen=True, rename="camel"):
    """All accounts after one change of prices; `accounts` names those from WARN on, the worst first."""

    percent: float
    levels: dict[str, int]
    virtual_equity: float
    deficit: float
    maintenance_margin: float
    real_equity: float | None
    coverage: float | None
    accounts: tuple[DeskAccount, ...]


class Holder(msgspec.Struct, frozen=True, rename="camel"):
    sub_account_id: str
    name: str
    side: str
    quantity: float


class Exposure(msgspec.Struct, frozen=True, rename="camel"):
    """Σ virtual + house = exchange of one symbol, signed base units; None while the exchange is not known."""

    symbol: str
    virtual_net: float
    house_net: float
    exchange_net: float | None
    difference: float | None
    balanced: bool
    watermark_ms: int
    accounts: tuple[Holder, ...]
