"""latsearch: Pareto-optimal latency-coded spiking neural networks."""

__version__ = "0.1.0"
