"""The speech model: sentences of a small grammar, spoken by espeak-ng, as windows of log-mel frames."""
