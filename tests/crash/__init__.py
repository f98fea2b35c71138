"""The kill test: `kill -9` at random moments under load, an audit after each restart."""
