"""Configuration: the YAML's models, their loader, the values of one trial (no torch, no ray)."""

from latsearch.config.describe import describe as describe
from latsearch.config.energy import PROFILES as PROFILES
from latsearch.config.energy import EnergyProfile as EnergyProfile
from latsearch.config.loading import load_study as load_study
from latsearch.config.loading import parse_study as parse_study
from latsearch.config.locations import STORAGE_VARIABLE as STORAGE_VARIABLE
from latsearch.config.locations import is_postgres as is_postgres
from latsearch.config.locations import storage_url as storage_url
from latsearch.config.locations import without_password as without_password
from latsearch.config.schema import json_schema as json_schema
from latsearch.config.space import Condition as Condition
from latsearch.config.space import Parameter as Parameter
from latsearch.config.space import Space as Space
from latsearch.config.space import Value as Value
from latsearch.config.study import DATASETS as DATASETS
from latsearch.config.study import Bound as Bound
from latsearch.config.study import DataConfig as DataConfig
from latsearch.config.study import ResourcesConfig as ResourcesConfig
from latsearch.config.study import ScreeningConfig as ScreeningConfig
from latsearch.config.study import StoppingConfig as StoppingConfig
from latsearch.config.study import StudyConfig as StudyConfig
from latsearch.config.trial import NetworkConfig as NetworkConfig
from latsearch.config.trial import StageConfig as StageConfig
from latsearch.config.trial import TrainConfig as TrainConfig
from latsearch.config.trial import TrialConfig as TrialConfig
