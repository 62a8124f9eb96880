"""Data for `unfreeze demo`, made on the spot: nothing is downloaded."""
