"""What a training costs, computed before it is trained: the same on every machine and in every run.

Measured seconds would tell it better, but no two runs measure the same: a search that looks at
them cannot be repeated. The unit is a synapse's multiply-accumulate, forward, backward and all;

    epochs · (samples · (MACs + NEURON · T · N) + steps · layers · LAYER),

MACs of an image in all its T timesteps and N hidden neurons. What small networks pay for is the
work of starting each layer of each step. The two prices were fitted, to a round figure, to the
recorded trainings of `docs/latbench.md`: on one core of a processor a MAC took 0.1 ns there, and
this cost had a correlation of 0.9 with the measured seconds on either table (MACs alone: 0.3 on
the digits, 0.8 on Fashion-MNIST).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from latsearch.config import Space, TrialConfig, Value
from latsearch.search.points import identity

NEURON = 100.0  # MACs as long as which a neuron's update at a timestep takes
LAYER = 4e6  # … and the start of a layer in a training step


class TrainingCost:
    """The cost of a full training with given values.

    Args:
        space: the search space.
        input_shape: ``(C, H, W)`` of its images.
        classes: how many.
        samples: of the training split.
    """

    def __init__(self, space: Space, input_shape: tuple[int, int, int], classes: int, samples: int):
        self._space = space
        self._shape = input_shape
        self._classes = classes
        self._samples = samples
        self._known: dict[Hashable, float] = {}

    def __call__(self, values: Mapping[str, Value]) -> float:
        """The cost, as a number of MACs.

        Raises:
            LatsearchError: the network does not fit the images, or is code that fails.
        """
        key = identity(values)
        if key not in self._known:
            self._known[key] = self._compute(self._space.trial(values))
        return self._known[key]

    def _compute(self, trial: TrialConfig) -> float:
        # torch takes seconds to import: only a search that asks for a cost waits for it
        from latsearch.snn.custom import CustomNetwork
        from latsearch.snn.energy import dense_operations
        from latsearch.snn.networks import build_any

        network, train = trial.network, trial.train
        built = build_any(network, self._shape, self._classes, meta=True)
        if isinstance(built, CustomNetwork):
            # what cannot be counted of the user's code is left out: only relations matter
            stem, behind = (0.0, 0.0) if built.uncounted else dense_operations(built)
            looks, layers = 1, len(built.layers)
        else:
            stem, behind = dense_operations(built)
            looks = 1 if built.encoder.still else network.timesteps
            layers = len(built.projections()) + 2  # the encoder and the output
        macs = stem * looks + behind * network.timesteps
        updates = built.hidden_neurons() * network.timesteps
        steps = max(1, self._samples // train.batch_size)
        epoch = self._samples * (macs + NEURON * updates) + steps * layers * LAYER
        ordinary = self._samples * (stem + behind) + steps * layers * LAYER  # in one timestep
        return float(train.epochs * epoch + train.relu_epochs * ordinary)
