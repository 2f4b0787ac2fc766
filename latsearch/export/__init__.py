"""Trained networks for use elsewhere: written in other formats, each proven by running it there."""

from __future__ import annotations

from latsearch.export.exporter import FORMATS, check_formats, export_model
from latsearch.export.report import Check, ExportReport

__all__ = ["FORMATS", "Check", "ExportReport", "check_formats", "export_model"]
