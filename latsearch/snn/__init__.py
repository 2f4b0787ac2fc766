"""Latency-coded spiking networks."""
