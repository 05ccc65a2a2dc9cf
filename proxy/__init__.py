"""The door: HTTP, contracts, routing and lifecycle in front of the backends."""
