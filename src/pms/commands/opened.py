"""Opens the ledger of a data folder for one command, and lends it the engine lease."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from pms.data_folder import DataFolder
from pms.engine import database_url
from pms.lease import LeaseKeeper
from pms.ledger.databases import require_database
from pms.ledger.ledger import LedgerService, open_ledger
from pms.model.ids import ExchangeAccountId
from pms.risk.formulas import static_liquidation_price_decimal
from pms.runtime import SystemClock, SystemIds
from pms.settings import Settings, load_settings


@asynccontextmanager
async def opened_ledger(
    overrides: Mapping[str, object], say: Callable[[str], None], *, writing: bool, create: bool = False
) -> AsyncIterator[LedgerService]:
    """Open the ledger; with `writing`, hold the data folder and the lease for the time of the command.

    Raises DataFolderError when an engine runs on the folder: then use the dashboard or the API; and, without
    `create`, DatabaseUnavailableError when there is no ledger, so a mistyped folder leaves nothing behind.
    """
    settings: Settings = load_settings(overrides)
    url = database_url(settings)
    if not create:
        require_database(url)
    clock, ids = SystemClock(), SystemIds()
    async with AsyncExitStack() as stack:
        if writing or not settings.data_dir.exists():
            stack.callback(DataFolder.open(settings.data_dir).close)
        ledger = await open_ledger(
            url,
            ExchangeAccountId(settings.exchange_account),
            clock,
            ids,
            static_liquidation_price_decimal,
            charge_open_fees=settings.charge_open_fees,
            liquidation_fee_rate=settings.liquidation_fee_rate,
        )
        stack.push_async_callback(ledger.close)
        if writing:
            await LeaseKeeper(ledger, "pms command", clock).take(5.0, say)
            stack.push_async_callback(ledger.release_lease)
        yield ledger
