"""Data: sources, audit, cleaning, splits, augmentation."""
