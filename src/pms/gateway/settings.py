"""What the gateway is told at start: addresses, secret, limits, and who may register."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from pms.gateway.errors import SettingsError

SECRET_BYTES_MIN = 32


class Registration(StrEnum):
    """Open registration never makes an admin (gateway spec H-34); PENDING users wait for approval."""

    OFF = "off"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`jwt_secret` signs sessions (HS256, shared with the incumbent), at least 32 bytes. Port 0: a free one.

    `allowed_origins` are further pages that may open the WebSocket and call the API; the server's own page
    always may. `allowed_hosts` empty means: any Host when listening publicly, on loopback its own names and
    the hosts of `allowed_origins`. `trusted_proxies` are networks whose `X-Forwarded-For` is believed.
    """

    jwt_secret: str
    host: str = "127.0.0.1"
    port: int = 3900
    registration: Registration = Registration.OFF
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    default_account_grant: Decimal = Decimal(500)
    reads_per_minute: int = 600
    writes_per_minute: int = 120
    unauthenticated_per_minute: int = 120
    logins_per_minute: int = 10
    socket_authentication_seconds: float = 5.0
    ping_seconds: float = 30.0

    def __post_init__(self) -> None:
        if len(self.jwt_secret.encode()) < SECRET_BYTES_MIN:
            raise SettingsError(
                f"JWT_SECRET has {len(self.jwt_secret.encode())} bytes; give at least {SECRET_BYTES_MIN}, "
                "for example the output of `openssl rand -hex 32`."
            )
        _networks(self.trusted_proxies)

    @property
    def on_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def host_names(self) -> frozenset[str] | None:
        """Names that a Host header may carry, lower case; None: any well-formed one (DNS rebinding, H-16)."""
        if self.allowed_hosts:
            return frozenset(name.lower() for name in self.allowed_hosts)
        if not self.on_loopback:
            return None
        pages = {urlsplit(origin).hostname or "" for origin in self.allowed_origins}
        return frozenset({"localhost", "127.0.0.1", "[::1]"} | pages)

    def peer_is_proxy(self, address: str) -> bool:
        """Return whether an address belongs to a trusted proxy. Raises SettingsError for a bad network."""
        try:
            peer = ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in _networks(self.trusted_proxies))


@cache
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise SettingsError(f"TRUSTED_PROXIES: {error}; give networks such as 10.0.0.0/8.") from error
