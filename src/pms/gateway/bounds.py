"""Every bound of the gateway, with its overflow rule."""

BODY_BYTES_MAX = 100_000
"""Request body; beyond it 413 (gateway spec, section 1)."""

BODY_SECONDS_MAX = 10.0
"""Time to send a body; beyond it 408."""

HEAD_BYTES_MAX = 65_536
"""Request line and headers that have not ended yet; beyond it 431."""

HEAD_SECONDS_MAX = 10.0
"""Time to send request line and headers; beyond it 408, or the end of a connection that sent nothing."""

REQUEST_BYTES_MAX = 1_000_000
"""All bytes of a request, its chunk framing and trailers included; beyond it the connection is cut."""

FRAME_BYTES_MAX = 65_536
"""Incoming WebSocket frame; beyond it close 1009 (gateway spec 7.3)."""

BACKLOG_BYTES_MAX = 1_048_576
"""Durable events waiting for one browser; beyond it close 4008 (gateway spec 7.3)."""

COALESCED_KEYS_MAX = 20_000
"""Distinct ephemeral values waiting for one browser; beyond it close 4008."""

SOCKETS_PER_USER_MAX = 20
"""Authenticated sockets of one user; the newest is refused with 4429."""

SOCKET_MESSAGES_MAX = 600
"""Messages from one socket within 60 s; beyond it close 4429."""

SOCKETS_MAX = 2_000
"""All sockets; the newest is refused with 1013."""

CONNECTIONS_MAX = 4_000
"""Open connections, sockets included, fewer where few files may be open; beyond it a new one is cut."""

SUBSCRIPTIONS_PER_SOCKET_MAX = 2_000
"""Accounts of one subscription; beyond it the subscribe frame is refused with an error frame."""

WATCHED_PER_SOCKET_MAX = 50
"""Symbols watched by one socket; beyond it the watch frame is refused with an error frame."""

WATCHED_SYMBOLS_MAX = 400
"""Symbols watched by all sockets together; beyond it a new one is refused with an error frame."""

CLOSED_POSITIONS_REMEMBERED_MAX = 10_000
"""Positions whose late events are suppressed after they closed; the oldest is forgotten."""

PRINCIPALS_CACHED_MAX = 10_000
"""Users whose status is cached; the oldest is forgotten and read again."""

RATE_WINDOWS_MAX = 20_000
"""Rate-limit counters; the oldest window is forgotten."""

ACCOUNTS_PER_USER_MAX = 50
"""Sub-accounts that a non-admin can create; beyond it 429 BOUND_REACHED."""

IDEMPOTENCY_IN_FLIGHT_MAX = 1_000
"""Requests with a key that are being carried out; beyond it 429 BOUND_REACHED."""

IDEMPOTENCY_KEPT_MS = 24 * 3_600_000
"""Age of a stored result after which its key is free again."""

KLINES_CACHED_MAX = 256
"""Answers of `/klines` kept; the oldest is forgotten."""

HISTORY_ROWS_MAX = 10_000
"""Rows of one history page (gateway spec 6.6: the CSV export asks for 10 000)."""

CURVE_POINTS_MAX = 2_000
"""Points of an equity curve; longer ones are down-sampled evenly, first and last kept."""

PREVIEW_MOVES_MAX = 40
"""Moves of prices in one preview; more are refused."""
