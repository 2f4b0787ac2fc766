"""Serving one trained network over HTTP: `latsearch serve`."""

from latsearch.serving.options import ServeOptions
from latsearch.serving.server import serve

__all__ = ["ServeOptions", "serve"]
