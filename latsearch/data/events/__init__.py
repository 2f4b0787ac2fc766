"""Recordings of event cameras and cochleas: read, binned to frames, corrupted."""

from latsearch.data.events.binning import Events as Events
from latsearch.data.events.binning import Grid as Grid
from latsearch.data.events.binning import Sensor as Sensor
from latsearch.data.events.corruptions import EVENT_CORRUPTIONS as EVENT_CORRUPTIONS
from latsearch.data.events.corruptions import SEVERITIES as SEVERITIES
