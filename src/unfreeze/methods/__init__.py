"""Methods: named ways to fine-tune."""

from __future__ import annotations

from unfreeze.methods._method import Method
from unfreeze.registry import Registry

METHODS: Registry[Method] = Registry("method", "unfreeze.methods", "METHOD")
