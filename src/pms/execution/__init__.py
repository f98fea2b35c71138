"""Orders from intent to fill: place, track, book, close, flip, liquidate, recover."""
