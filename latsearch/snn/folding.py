"""Folding: batch normalisation becomes part of the synapses, as a chip would hold them.

With ``g = γ / sqrt(var + ε)`` and ``b = β - g · mean`` the normalised current of the kernel's sum
is ``g · Σ W s + b = Σ (g W) s + b``: the gain goes into the weights, the shift stays an addition
at every timestep (in the convolution itself where the synaptic kernel is ``delta``).
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latsearch.snn.encoding import Encoder
from latsearch.snn.layers import ClassLinear, Projection, TimestepNorm
from latsearch.snn.networks import LatencyNetwork, Network, own


class Shift(nn.Module):
    """What is left of a folded normalisation: an addition.

    Args:
        shift: ``[C]``, added to each channel.
    """

    shift: Tensor

    def __init__(self, shift: Tensor):
        super().__init__()
        self.register_buffer("shift", shift)

    def forward(self, current: Tensor) -> Tensor:
        """Shifted currents ``[T*B, C, ...]``."""
        return current + self.shift.view(-1, *(1,) * (current.ndim - 2))


def affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """``[C]`` gain g and shift b of a normalisation in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        gain = gain * norm.weight
        return gain.detach(), (norm.bias - norm.running_mean * gain).detach()
    return gain, -norm.running_mean * gain


def folded(network: Network) -> LatencyNetwork:
    """A copy in evaluation mode with its normalisations in its synapses, for inference alone.

    The output's weights are centred and scaled once. Normalisations of single timesteps stay: their
    gains differ over time, the synapses do not. Potentials differ from the network's by rounding.

    Raises:
        UserError: the network is the user's own code.
    """
    twin = copy.deepcopy(own(network, "folding")).eval().requires_grad_(False)
    if twin.encoder.folded is not None:
        return twin
    _fold_stem(twin.encoder)
    for projection in twin.projections():
        if isinstance(projection, Projection) and not isinstance(projection.norm, TimestepNorm):
            _fold_projection(projection)
    _fold_output(twin)
    return twin


def _fold_stem(encoder: Encoder) -> None:
    gain, shift = affine(encoder.norm)
    scale = F.softplus(encoder.gain.detach())
    gain, shift = gain * scale, shift * scale + encoder.shift.detach()
    _scale(encoder.conv, gain)
    if encoder.still:
        encoder.conv.bias = nn.Parameter(shift, requires_grad=False)
        encoder.folded = nn.Identity()
    else:
        encoder.folded = Shift(shift)


def _fold_projection(projection: Projection) -> None:
    assert isinstance(projection.norm, nn.BatchNorm1d | nn.BatchNorm2d)
    gain, shift = affine(projection.norm)
    _scale(projection.synapse, gain)
    if projection.synapse_keep == 0.0:
        projection.synapse.bias = nn.Parameter(shift, requires_grad=False)
        projection.norm = nn.Identity()
    else:
        projection.norm = Shift(shift)


def _scale(synapse: nn.Conv2d | nn.Linear, gain: Tensor) -> None:
    synapse.weight.mul_(gain.view(-1, *(1,) * (synapse.weight.ndim - 1)))


def _fold_output(network: LatencyNetwork) -> None:
    synapse = network.output.synapse
    assert isinstance(synapse, ClassLinear)
    weight, bias = synapse.effective_weight(), synapse.effective_bias()
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        plain.bias = nn.Parameter(bias, requires_grad=False)
    network.output.synapse = plain
