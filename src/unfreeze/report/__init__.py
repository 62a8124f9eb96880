"""The report of a run: sections, one file each, put together into one HTML file that needs nothing else."""

from __future__ import annotations

from unfreeze.registry import Registry
from unfreeze.report._section import Section

SECTIONS: Registry[Section] = Registry("section of the report", "unfreeze.report.sections", "SECTION")

__all__ = ["SECTIONS", "Section"]
