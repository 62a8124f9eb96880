"""Tasks: what is predicted."""

from __future__ import annotations

from unfreeze.registry import Registry
from unfreeze.tasks._task import Task

TASKS: Registry[Task] = Registry("task", "unfreeze.tasks", "TASK")
