"""Which message answers which request (Binance spec 2); an object or a list where a symbol decides."""

from __future__ import annotations

from typing import Any

from pms.exchange import messages_account as account
from pms.exchange import messages_market as market
from pms.exchange import messages_orders as orders
from pms.exchange import messages_symbols as symbols
from pms.exchange.messages_base import Empty, ErrorBody

_MARKET: dict[str, Any] = {
    "/fapi/v1/ping": Empty,
    "/fapi/v1/time": market.ServerTime,
    "/fapi/v1/exchangeInfo": symbols.ExchangeInfo,
    "/fapi/v1/depth": market.Depth,
    "/fapi/v1/rpiDepth": market.Depth,
    "/fapi/v1/trades": list[market.PublicTrade],
    "/fapi/v1/historicalTrades": list[market.PublicTrade],
    "/fapi/v1/aggTrades": list[market.AggregateTrade],
    "/fapi/v1/klines": list[market.KlineRow],
    "/fapi/v1/continuousKlines": list[market.KlineRow],
    "/fapi/v1/indexPriceKlines": list[market.KlineRow],
    "/fapi/v1/markPriceKlines": list[market.KlineRow],
    "/fapi/v1/premiumIndexKlines": list[market.KlineRow],
    "/fapi/v1/premiumIndex": market.PremiumIndex | list[market.PremiumIndex],
    "/fapi/v1/fundingRate": list[market.FundingRate],
    "/fapi/v1/fundingInfo": list[market.FundingInfo],
    "/fapi/v1/ticker/24hr": market.Ticker24h | list[market.Ticker24h],
    "/fapi/v1/ticker/price": market.PriceTicker | list[market.PriceTicker],
    "/fapi/v2/ticker/price": market.PriceTicker | list[market.PriceTicker],
    "/fapi/v1/ticker/bookTicker": market.BookTicker | list[market.BookTicker],
    "/fapi/v1/openInterest": market.OpenInterest,
    "/fapi/v1/symbolAdlRisk": market.AdlRisk | list[market.AdlRisk],
    "/fapi/v1/constituents": market.IndexConstituents,
    "/fapi/v1/insuranceBalance": market.InsuranceFund | list[market.InsuranceFund],
    "/fapi/v1/indexInfo": market.CompositeIndex | list[market.CompositeIndex],
    "/fapi/v1/assetIndex": market.AssetIndex | list[market.AssetIndex],
    "/fapi/v1/tradingSchedule": symbols.TradingSchedule,
    "/futures/data/delivery-price": list[market.DeliveryPrice],
    "/futures/data/openInterestHist": list[market.OpenInterestRow],
    "/futures/data/topLongShortPositionRatio": list[market.LongShortRatio],
    "/futures/data/topLongShortAccountRatio": list[market.LongShortRatio],
    "/futures/data/globalLongShortAccountRatio": list[market.LongShortRatio],
    "/futures/data/takerlongshortRatio": list[market.TakerVolume],
    "/futures/data/basis": list[market.Basis],
}

_ACCOUNT: dict[str, Any] = {
    "/fapi/v1/openOrder": orders.OrderAnswer,
    "/fapi/v1/openOrders": list[orders.OrderAnswer],
    "/fapi/v1/allOrders": list[orders.OrderAnswer],
    "/fapi/v1/forceOrders": list[orders.OrderAnswer],
    "/fapi/v1/orderAmendment": list[orders.OrderAmendment],
    "/fapi/v1/openAlgoOrders": list[orders.AlgoOrder],
    "/fapi/v1/allAlgoOrders": list[orders.AlgoOrder],
    "/fapi/v2/balance": list[account.Balance],
    "/fapi/v3/balance": list[account.Balance],
    "/fapi/v2/account": account.AccountInfo,
    "/fapi/v3/account": account.AccountInfo,
    "/fapi/v2/positionRisk": list[account.PositionRisk],
    "/fapi/v3/positionRisk": list[account.PositionRisk],
    "/fapi/v1/symbolConfig": list[account.SymbolConfig],
    "/fapi/v1/accountConfig": account.AccountConfig,
    "/fapi/v1/userTrades": list[account.UserTrade],
    "/fapi/v1/income": list[account.Income],
    "/fapi/v1/commissionRate": account.CommissionRate,
    "/fapi/v1/leverageBracket": symbols.SymbolBrackets | list[symbols.SymbolBrackets],
    "/fapi/v1/adlQuantile": account.AdlQuantile | list[account.AdlQuantile],
    "/fapi/v1/rateLimit/order": list[symbols.RateLimit],
    "/fapi/v1/apiTradingStatus": account.TradingStatus,
    "/fapi/v1/feeBurn": account.FeeBurn,
    "/fapi/v1/positionSide/dual": account.PositionMode,
    "/fapi/v1/multiAssetsMargin": account.MultiAssetsMode,
    "/fapi/v1/positionMargin/history": list[account.PositionMarginChange],
    "/fapi/v1/pmAccountInfo": account.PortfolioMarginAccount,
}

_ORDERS: dict[tuple[str, str], Any] = {
    ("GET", "/fapi/v1/order"): orders.OrderAnswer,
    ("POST", "/fapi/v1/order"): orders.OrderAnswer,
    ("PUT", "/fapi/v1/order"): orders.OrderAnswer,
    ("DELETE", "/fapi/v1/order"): orders.OrderAnswer,
    ("POST", "/fapi/v1/order/test"): orders.OrderAnswer,
    ("POST", "/fapi/v1/batchOrders"): list[orders.OrderAnswer],
    ("PUT", "/fapi/v1/batchOrders"): list[orders.OrderAnswer],
    ("DELETE", "/fapi/v1/batchOrders"): list[orders.OrderAnswer],
    ("DELETE", "/fapi/v1/allOpenOrders"): ErrorBody,
    ("POST", "/fapi/v1/countdownCancelAll"): orders.CountdownAnswer,
    ("GET", "/fapi/v1/algoOrder"): orders.AlgoOrder,
    ("POST", "/fapi/v1/algoOrder"): orders.AlgoOrder,
    ("DELETE", "/fapi/v1/algoOrder"): orders.AlgoCancel,
    ("DELETE", "/fapi/v1/algoOpenOrders"): ErrorBody,
    ("POST", "/fapi/v1/leverage"): account.LeverageAnswer,
    ("POST", "/fapi/v1/marginType"): ErrorBody,
    ("POST", "/fapi/v1/positionMargin"): account.PositionMarginAnswer,
    ("POST", "/fapi/v1/positionSide/dual"): ErrorBody,
    ("POST", "/fapi/v1/multiAssetsMargin"): ErrorBody,
    ("POST", "/fapi/v1/feeBurn"): ErrorBody,
    ("POST", "/fapi/v1/listenKey"): account.ListenKey,
    ("PUT", "/fapi/v1/listenKey"): account.ListenKey,
    ("DELETE", "/fapi/v1/listenKey"): Empty,
}

ANSWERS: dict[tuple[str, str], Any] = {
    **{("GET", path): kind for path, kind in (_MARKET | _ACCOUNT).items()},
    **_ORDERS,
}
"""By method and path. A batch is a list of orders, of which an element may be an `ErrorBody` instead."""
