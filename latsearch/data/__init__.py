"""Data sets: one function, `load(DataConfig) -> Splits`."""

from latsearch.data.images import load as load
from latsearch.data.splits import Samples as Samples
from latsearch.data.splits import Splits as Splits
