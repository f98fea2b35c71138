"""Reaches the engine that runs on a data folder: its address, and a session for whoever owns the folder.

Who can read the folder holds its session secret and its ledger already, so no password is asked for.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from pms.client import PmsClient
from pms.commands.opened import opened_ledger
from pms.data_folder import DataFolder
from pms.gateway.ports import Role, UserStatus
from pms.gateway.tokens import TokenIssuer
from pms.runtime import SystemClock, SystemIds
from pms.settings import SettingsError, load_settings, session_secret

ADDRESS_FILE = "gateway-address"


def note_address(data_dir: Path, url: str) -> None:
    """Leave the gateway's address in the data folder, for commands beside the running engine."""
    (data_dir / ADDRESS_FILE).write_text(url + "\n", encoding="ascii")


def is_running(overrides: Mapping[str, object]) -> bool:
    """True while a process holds the data folder."""
    return DataFolder.holder(load_settings(overrides).data_dir) is not None


@asynccontextmanager
async def running_engine(overrides: Mapping[str, object]) -> AsyncIterator[PmsClient]:
    """Open a client of the engine that runs on the folder, as its administrator.

    Raises SettingsError when the engine serves no gateway, or nobody is an approved administrator.
    """
    settings = load_settings(overrides)
    try:
        address = (settings.data_dir / ADDRESS_FILE).read_text(encoding="ascii").strip()
    except OSError:
        raise SettingsError(
            f"an engine runs on {settings.data_dir} without a gateway; start it with the role gateway, or "
            "stop it and repeat the command"
        ) from None
    async with opened_ledger(overrides, lambda text: None, writing=False) as ledger:
        users = await ledger.directory.users()
    admins = [user for user in users if user.role is Role.ADMIN and user.status is UserStatus.APPROVED]
    if not admins:
        raise SettingsError("nobody is an administrator; make one with `pms user create NAME --admin`")
    secret = settings.jwt_secret
    kept = secret.get_secret_value() if secret else session_secret(settings.data_dir, SystemIds())
    token = TokenIssuer(kept, SystemClock(), SystemIds()).issue(
        admins[0].id, admins[0].username, admins[0].role.value
    )
    async with PmsClient(address, token=token) as client:
        yield client
