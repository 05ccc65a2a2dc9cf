"""Sessions: what a client says once of speech and translation, and what then holds for every request that names it."""
