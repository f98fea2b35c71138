"""Request signatures: HMAC-SHA256 over the exact bytes that travel (Binance spec 1.3)."""

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import quote


def encode(parameters: Iterable[tuple[str, str]]) -> str:
    """Return parameters as percent-encoded `name=value&…` in the given order.

    Raises ValueError for an empty value, which the exchange does not accept (spec 1.2).
    """
    parts = []
    for name, value in parameters:
        if not value:
            raise ValueError(f"the parameter {name} of an exchange request is empty; leave it out instead")
        parts.append(f"{name}={quote(value, safe='')}")
    return "&".join(parts)


class Signer:
    """Signs with one secret. The keyed hash object is prepared once and copied for each request."""

    def __init__(self, secret: str) -> None:
        self._prepared = hmac.new(secret.encode(), digestmod=hashlib.sha256)

    def signature(self, query: str, body: str = "") -> str:
        """Return the lower-case hex signature of the query directly followed by the body, no `&` between."""
        keyed = self._prepared.copy()
        keyed.update((query + body).encode())
        return keyed.hexdigest()

    def signed(self, encoded: str) -> str:
        """Return encoded parameters with their signature appended as the last one."""
        return f"{encoded}&signature={self.signature(encoded)}"
