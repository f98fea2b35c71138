"""Passwords and API keys: bcrypt off the loop, the same time for everybody, keys stored hashed."""

import asyncio
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from pms.gateway.errors import invalid
from pms.model.ids import IdSource

COST = 10
PASSWORD_BYTES_MAX = 72
PASSWORD_CHARACTERS_MIN = 8
LOGIN_CHARACTERS_MAX = 1_024

_WORKERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bcrypt")
"""Two at most, so that a burst of logins cannot take every core from the engine."""

_DUMMY_HASH = "$2b$10$C6UzMDM.H6dfI/f/IKcEeO7ZUQWLcMGE6bUF3pGNAQ8ZwZJ8qV3tW"
"""Stands in for an unknown user's hash, so that both cost the same time (gateway spec H-32)."""

_KEY_FORM = re.compile(r"pms_[0-9a-f]{48}")


def check_new_password(password: str) -> None:
    """Raise ApiError unless the password may be used for a new hash (gateway spec 3.1 and 3.2)."""
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise invalid(f"The password needs at least {PASSWORD_CHARACTERS_MIN} characters.", path="password")
    if not re.search("[A-Za-z]", password) or not re.search("[0-9]", password):
        raise invalid("The password needs a letter and a digit.", path="password")
    if len(password.encode()) > PASSWORD_BYTES_MAX:
        raise invalid(f"The password has more than {PASSWORD_BYTES_MAX} bytes.", path="password")
    if "\0" in password:
        raise invalid("The password contains a NUL character.", path="password")


def random_password(ids: IdSource) -> str:
    """Return a fresh password of 64 random bits that every rule accepts, in groups that can be typed."""
    raw = ids.token(8)
    return "-".join((raw[:4], raw[4:8], raw[8:12], raw[12:])) + "-p1"


def hash_password_now(password: str) -> str:
    """Return the bcrypt hash (`$2b$10$...`). Takes tens of milliseconds; blocks."""
    check_new_password(password)
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


async def hash_password(password: str) -> str:
    """Return the bcrypt hash, computed in a thread. Raises ApiError for a password that is not acceptable."""
    return await asyncio.get_running_loop().run_in_executor(_WORKERS, hash_password_now, password)


def _verify(password: str, password_hash: str) -> bool:
    # The incumbent's bcrypt ignores what follows byte 72; its hashes must go on to verify.
    secret = password.encode()[:PASSWORD_BYTES_MAX]
    try:
        return bcrypt.checkpw(secret, password_hash.encode())
    except ValueError:
        return False


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Return whether the password fits, in the same time for a wrong one and for an unknown user (None)."""
    work = asyncio.get_running_loop().run_in_executor(
        _WORKERS, _verify, password, password_hash or _DUMMY_HASH
    )
    fits = await work
    return fits and password_hash is not None


def stored_key(api_key: str) -> str:
    """Return what is stored of a key: a prefixed SHA-256, so that a stolen column is no credential (H-6)."""
    return "sha256:" + hashlib.sha256(api_key.encode()).hexdigest()


def stored_forms(api_key: str) -> tuple[str, ...]:
    """Return the column values that a key matches: its hash, and legacy clear text; () when malformed."""
    if not _KEY_FORM.fullmatch(api_key):
        return ()
    return stored_key(api_key), api_key
