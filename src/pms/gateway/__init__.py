"""The outer surface: HTTP API, browser WebSocket, authentication, ownership, and the built dashboard."""
