"""Kubernetes: a search as a RayJob, submitted, followed and brought home.

The only folder that imports the ``kubernetes`` client, and it does so where it is first needed: the
import takes most of a second, and the package is an extra (``pip install 'latsearch[k8s]'``).
"""

from __future__ import annotations

from latsearch.cluster.client import Cluster, connect
from latsearch.cluster.manifests import Manifests, Submission, render
from latsearch.cluster.state import JobState

__all__ = ["Cluster", "JobState", "Manifests", "Submission", "connect", "render"]
