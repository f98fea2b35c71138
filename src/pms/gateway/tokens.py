"""Session tokens: HS256 JSON Web Tokens with the incumbent's claims, checked by our own clock (spec 3.3)."""

from dataclasses import dataclass

import jwt

from pms.gateway.errors import unauthorized
from pms.gateway.requests import ID_CHARACTERS
from pms.model.clock import Clock
from pms.model.ids import IdSource, UserId

LIFETIME_SECONDS = 7 * 24 * 3600
TOKEN_CHARACTERS_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says; role and status are read from the user's row, never from here (H-5)."""

    user_id: UserId
    expires_at_s: int


class TokenIssuer:
    """Issues and verifies; the algorithm is pinned."""

    def __init__(self, secret: str, clock: Clock, ids: IdSource) -> None:
        self._secret = secret
        self._clock = clock
        self._ids = ids

    def issue(self, user_id: UserId, username: str, role: str) -> str:
        now_s = self._clock.now_ms() // 1000
        claims = {
            "id": user_id,
            "username": username,
            "role": role,
            "iat": now_s,
            "exp": now_s + LIFETIME_SECONDS,
            "jti": self._ids.token(8),
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def verify(self, token: str) -> Claims:
        """Return the claims. Raises ApiError 401 for all but valid, unexpired tokens of ours."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise unauthorized("The session token is invalid. Log in again.", "INVALID_TOKEN")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                options={"require": ["exp", "iat"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise unauthorized("The session token is invalid. Log in again.", "INVALID_TOKEN") from error
        user_id, expires_at_s = claims.get("id"), claims["exp"]
        if (
            not isinstance(user_id, str)
            or not ID_CHARACTERS.fullmatch(user_id)
            or isinstance(expires_at_s, bool)
            or not isinstance(expires_at_s, int)
        ):
            raise unauthorized("The session token is invalid. Log in again.", "INVALID_TOKEN")
        if expires_at_s * 1000 <= self._clock.now_ms():
            raise unauthorized("The session has expired. Log in again.", "TOKEN_EXPIRED")
        return Claims(UserId(user_id), expires_at_s)
