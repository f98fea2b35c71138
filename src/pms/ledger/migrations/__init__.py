"""Alembic migrations: create what is missing, change nothing that the incumbent made."""
