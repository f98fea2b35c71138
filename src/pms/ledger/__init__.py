"""The database: tables, migrations and the few transactions that move money. Nothing else writes money."""
