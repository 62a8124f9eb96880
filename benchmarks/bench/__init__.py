"""The same jobs by unfreeze and by its peers, side by side: `make bench`."""
