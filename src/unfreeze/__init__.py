"""Fine-tune pre-trained networks on your own data."""

__version__ = "0.1.0"
