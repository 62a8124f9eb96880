"""Optimizers, schedules and the parameter groups of a stack."""
