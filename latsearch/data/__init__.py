"""Data sets: `load(DataConfig) -> Splits`, and `catalogue()` of what is known."""

from latsearch.data.catalogue import DATASETS as DATASETS
from latsearch.data.catalogue import catalogue as catalogue
from latsearch.data.catalogue import load as load
from latsearch.data.known import DatasetInfo as DatasetInfo
from latsearch.data.known import Progress as Progress
from latsearch.data.splits import Samples as Samples
from latsearch.data.splits import Splits as Splits
from latsearch.data.splitting import part as part
