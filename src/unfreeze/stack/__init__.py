"""The layer stack: groups, frontier, ledger, replay."""
