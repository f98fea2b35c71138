"""What accounts would be at other prices: one for its owner, the whole desk for an administrator."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

from fastapi import APIRouter, Query

from pms.execution.previews import DeskPreview
from pms.gateway import render, wire
from pms.gateway.bounds import PREVIEW_MOVES_MAX
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf
from pms.gateway.errors import invalid, not_found
from pms.gateway.routing import AdminRoute, UserRoute, router
from pms.risk.liquidation import Level
from pms.risk.preview import AccountPreview, PriceMove

user = router("/api/trade", "account reads", UserRoute)
admin = router("/api/admin", "admin", AdminRoute)
ROUTERS: tuple[APIRouter, ...] = (user, admin)

PERCENT_MIN, PERCENT_MAX = Decimal("-99.99"), Decimal(10_000)
DESK_MOVES = ("-20", "-10", "-5", "0", "5", "10", "20")


class PreviewStepBody(wire.Wire):
    """One thing that would be done: WARN, a partial close (with position and quantity), or the label of a
    full liquidation or takeover."""

    action: str
    margin_ratio: float
    position_id: str | None
    symbol: str | None
    quantity: float | None
    closes_all: bool


class PreviewPositionBody(wire.Wire):
    position_id: str
    symbol: str
    side: str
    quantity: float
    mark_price: float
    unrealized_pnl: float
    liquidation_price: float


class PreviewBody(wire.Wire):
    """An account at moved prices; `unpriced` symbols have no mark and moved from their entry. `ladder` is
    what would be done at these prices, in order, each step filled at the mark."""

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
    positions: list[PreviewPositionBody]
    ladder: list[PreviewStepBody]
    unpriced: list[str]


class DeskAccountBody(wire.Wire):
    sub_account_id: str
    name: str
    level: str
    margin_ratio: float
    equity_raw: float
    maintenance_margin: float


class DeskPreviewBody(wire.Wire):
    """All accounts after one move. `levels` counts accounts with positions; `virtualEquity` sums all equity,
    `deficit` what those below zero would owe; `coverage` = virtualEquity / realEquity, null while the real
    account's balance is not known. `accounts` names those from WARN on, the worst first."""

    percent: float
    levels: dict[str, int]
    virtual_equity: float
    deficit: float
    maintenance_margin: float
    real_equity: float | None
    coverage: float | None
    accounts: list[DeskAccountBody]


PercentOf = Annotated[Decimal, Query(ge=PERCENT_MIN, le=PERCENT_MAX, allow_inf_nan=False)]
MovesOf = Annotated[
    list[str],
    Query(
        description="SYMBOL=PRICE, or SYMBOL=CHANGE% (such as BTC/USDT:USDT=-10%); once for each symbol.",
        max_length=PREVIEW_MOVES_MAX,
    ),
]


def price_move(percent: Decimal, moves: list[str]) -> PriceMove:
    """Return the move that a query names. Raises 400 for what is no price and no percentage."""
    percents: dict[str, Decimal] = {}
    prices: dict[str, Decimal] = {}
    for text in moves:
        symbol, _, value = text.rpartition("=")
        relative = value.endswith("%")
        try:
            number = Decimal(value.removesuffix("%"))
        except InvalidOperation:
            number = Decimal("NaN")
        fits = PERCENT_MIN <= number <= PERCENT_MAX if relative and number.is_finite() else False
        if not symbol or not (fits if relative else number.is_finite() and Decimal(0) < number < 10**12):
            raise invalid(
                "move must be SYMBOL=PRICE or SYMBOL=CHANGE%, with a price above 0 and a change from "
                f"{PERCENT_MIN} to {PERCENT_MAX}.",
                path="move",
            )
        (percents if relative else prices)[symbol] = number
    return PriceMove(percent, percents, prices)


@user.get("/preview/{sub_account_id}", operation_id="preview")
async def preview(
    sub_account_id: str,
    principal: PrincipalOf,
    gateway: GatewayOf,
    percent: PercentOf = Decimal(0),
    move: MovesOf = [],  # noqa: B006 - FastAPI copies the default
) -> PreviewBody:
    """Return what the account would be, and what would be done with it, if prices moved now: every symbol by
    `percent`, those that `move` names by their own. Nothing is changed, reserved or sent."""
    account = gateway.account(principal, sub_account_id)
    found = gateway.deps.service.preview(account.id, price_move(percent, move))
    if found is None:
        raise not_found("The sub-account")
    return _account(found)


@admin.get("/preview", operation_id="preview_desk")
async def preview_desk(
    gateway: GatewayOf,
    percent: Annotated[list[Decimal], Query(max_length=PREVIEW_MOVES_MAX)] = [  # noqa: B006 - copied
        Decimal(text) for text in DESK_MOVES
    ],
    move: MovesOf = [],  # noqa: B006 - FastAPI copies the default
) -> list[DeskPreviewBody]:
    """Return which accounts would be at which level if all prices moved by each `percent`; symbols that
    `move` names move by their own in each of them."""
    if not all(each.is_finite() and PERCENT_MIN <= each <= PERCENT_MAX for each in percent):
        raise invalid(f"percent must be from {PERCENT_MIN} to {PERCENT_MAX}.", path="percent")
    moves = [price_move(each, move) for each in percent]
    return [_desk(gateway, found) for found in gateway.deps.service.preview_desk(moves)]


def _account(found: AccountPreview) -> PreviewBody:
    figures, price = found.figures, found.account_liquidation_price
    return PreviewBody(
        sub_account_id=found.account.id,
        equity=float(figures.equity),
        equity_raw=float(figures.equity_raw),
        unrealized_pnl=float(figures.unrealized_pnl),
        margin_used=float(figures.margin_used),
        available_margin=float(figures.available_margin),
        maintenance_margin=float(figures.maintenance_margin),
        margin_ratio=float(figures.margin_ratio),
        level=found.level.name,
        liquidation_mode=found.account.liquidation_mode.value,
        account_liq_price=None if price is None else float(price),
        positions=[
            PreviewPositionBody(
                position_id=leg.position.id,
                symbol=leg.position.symbol,
                side=leg.position.side.value,
                quantity=float(leg.position.quantity),
                mark_price=float(leg.mark),
                unrealized_pnl=float(leg.unrealized_pnl),
                liquidation_price=float(leg.liquidation_price),
            )
            for leg in found.legs
        ],
        ladder=[
            PreviewStepBody(
                action=step.action,
                margin_ratio=float(step.margin_ratio),
                position_id=step.position_id,
                symbol=step.symbol,
                quantity=None if step.quantity is None else float(step.quantity),
                closes_all=step.closes_all,
            )
            for step in found.ladder
        ],
        unpriced=list(found.unpriced),
    )


def _desk(gateway: Gateway, found: DeskPreview) -> DeskPreviewBody:
    result, account_of = found.scenario, gateway.deps.ledger.account
    return DeskPreviewBody(
        percent=float(found.move.percent),
        levels={level.name: result.levels.get(level, 0) for level in Level},
        virtual_equity=found.virtual_equity,
        deficit=result.deficit,
        maintenance_margin=result.maintenance,
        real_equity=found.real_equity,
        coverage=found.coverage,
        accounts=[
            DeskAccountBody(
                sub_account_id=row.account_id,
                name=account.name,
                level=row.level.name,
                margin_ratio=render.finite(row.margin_ratio),
                equity_raw=render.finite(row.equity_raw),
                maintenance_margin=render.finite(row.maintenance_margin),
            )
            for row in result.accounts
            if (account := account_of(row.account_id)) is not None
        ],
    )
