"""Redis and its in-memory twin: key names, shared state, events. State that is shared, never the truth."""
