"""Tracking: MLflow's copy of studies, and its views of their fronts. The only users of mlflow.

MLflow takes seconds to import: nothing here does so before it publishes or serves.
"""

from latsearch.tracking.background import BackgroundPublisher as BackgroundPublisher
from latsearch.tracking.location import TrackingError as TrackingError
from latsearch.tracking.location import default_uri as default_uri
from latsearch.tracking.publishing import PublishReport as PublishReport
from latsearch.tracking.publishing import publish as publish
from latsearch.tracking.registry import Registration as Registration
from latsearch.tracking.registry import register as register
from latsearch.tracking.registry import register_retrained as register_retrained
from latsearch.tracking.retrained import Retrained as Retrained
from latsearch.tracking.ui import serve_ui as serve_ui
from latsearch.tracking.ui import ui_command as ui_command
