from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latsearch.config.trial import NetworkConfig
from latsearch.snn.decoding import RULES, decide
from latsearch.snn.encoding import levels
from latsearch.snn.kernels import fire_scan
from latsearch.snn.runtime import EarlyExit, _Record
from latsearch.snn.steps import NeuronStage
from tests.snn.test_folding import worn
from tests.snn.test_networks import inputs, networks


def thresholds(potentials: torch.Tensor, rule: str) -> list[float]:
    """Thresholds between the samples' evidence, and those beyond all of it."""
    peaks = torch.from_numpy(RULES[rule](potentials.double().numpy())).flatten().unique()
    middles = (peaks[1:] + peaks[:-1]) / 2
    some = middles[torch.linspace(0, max(len(middles) - 1, 0), 5).long()] if len(middles) else []
    return [-math.inf, *map(float, some), float(peaks.max()) + 1, math.inf]


def same(got, expected) -> bool:
    return all(
        np.array_equal(getattr(got, name), getattr(expected, name))
        for name in ("prediction", "decision_time", "silent", "tie")
    )


@settings(max_examples=60, deadline=None)
@given(
    networks(), st.sampled_from(list(RULES)), st.integers(0, 1000), st.sampled_from([1, 2, 19, 40])
)
def test_decides_as_the_full_evaluation_does(config, rule, seed, batch):
    torch.manual_seed(seed)
    config = dataclasses.replace(config, decision=rule)
    network = worn(config, dtype=torch.float64)
    images = inputs(network, batch, torch.float64)
    untouched = images.clone()
    with torch.no_grad():
        potentials = network(images)
    runtime = EarlyExit(network)
    for threshold in thresholds(potentials, rule):
        expected = decide(potentials, threshold, rule)
        assert same(runtime.decide(images, threshold), expected)
    assert torch.equal(images, untouched)


def spikes_of_both(network, images) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Each hidden layer's potentials and spikes in full, and its spikes stepwise, ``[T, B, N]``."""
    full, stepwise = {}, {}
    units = [unit for unit, _ in network.hidden_layers()]

    def keep(unit, inputs, out):
        current = inputs[0].reshape(network.timesteps, -1)
        rule = unit.rule
        spikes, h = fire_scan(
            current, rule.keep, rule.firing_threshold, rule.soft_reset, rule.strict
        )
        assert torch.equal(spikes.view_as(out), out)
        full[unit] = h.view(network.timesteps, len(images), -1), out

    handles = [unit.register_forward_hook(keep) for unit in units]
    runtime = EarlyExit(network)
    with torch.inference_mode():
        network(images.contiguous())
        for handle in handles:
            handle.remove()
        runtime.begin(images)
        stages = [part for part in runtime._parts if isinstance(part, NeuronStage)]
        sent = [[] for _ in stages]
        for t in range(network.timesteps):
            runtime.step(t)
            for stage, spikes in zip(stages, sent, strict=True):
                spikes.append(stage._memory["spikes"].flatten(1).clone())
    for unit, spikes in zip(units, sent, strict=True):
        stepwise[unit] = torch.stack(spikes)
    return [(full[u][0], full[u][1].view_as(stepwise[u]), stepwise[u]) for u in units]


def encoded_alike(network, images) -> torch.Tensor:
    """Samples that the encoder encodes alike in full and stepwise, ``[B]``; few are not."""
    encoder, runtime = network.encoder, EarlyExit(network)
    with torch.inference_mode():
        z, expected = encoder.strength(images), encoder(images)
        runtime.begin(images)
        got = torch.stack([runtime._encoder(t).clone() for t in range(network.timesteps)])
    other = (got != expected.view_as(got)).any(0)
    marks = levels(network.timesteps, device=z.device, dtype=z.dtype, spacing=encoder.spacing)
    assert ((z[other].unsqueeze(-1) - marks).abs().min(-1).values < 1e-5).all()
    return ~other.flatten(1).any(1)


@pytest.mark.parametrize("family", ["mlp", "lenet"])
@pytest.mark.parametrize("synapse", ["delta", "step", "exp"])
def test_in_float32_spikes_differ_at_a_threshold_alone(family, synapse):
    """A spike that differs lies within 1e-5 of its threshold, where all before it are equal."""
    torch.manual_seed(1)
    config = NetworkConfig(
        family=family, width=4, hidden=32, timesteps=4, synapse=synapse, downsampling="stride"
    )
    network = worn(config)
    network.convolutional = False  # so that neurons lie in memory in the order of their indices
    network = network.to(memory_format=torch.contiguous_format)
    images = inputs(network, 300)
    equal = encoded_alike(network, images)  # samples whose spikes were all equal so far
    compared = differing = 0
    for h, expected, got in spikes_of_both(network, images):
        other = got != expected
        first = other & (other.cumsum(0) == 1) & equal[None, :, None]
        assert (h[first] - 1.0).abs().max().item() < 1e-5 if first.any() else True
        compared += other.numel()
        differing += int(first.sum())
        equal &= ~other.any(2).any(0)
    assert compared >= 300 * 4 * 32
    assert differing <= 1e-5 * compared + 1
    got, potentials = EarlyExit(network).decide(images, 0.5), network(images).detach()
    expected = decide(potentials, 0.5)
    near = (potentials.max(-1).values - 0.5).abs().min(0).values < 1e-5
    alike = (equal & ~near).numpy()
    assert alike.mean() > 0.9
    assert np.array_equal(got.prediction[alike], expected.prediction[alike])
    assert np.array_equal(got.decision_time[alike], expected.decision_time[alike])


def test_its_memory_serves_batches_of_any_size():
    torch.manual_seed(0)
    network = worn(NetworkConfig(family="sew_resnet18", width=2, timesteps=3), dtype=torch.float64)
    runtime = EarlyExit(network)
    for batch in (5, 33, 1, 33, 7):
        images = inputs(network, batch, torch.float64)
        with torch.no_grad():
            potentials = network(images)
        threshold = float(potentials.max(-1).values.median())
        assert same(runtime.decide(images, threshold), decide(potentials, threshold))


def test_a_potential_that_is_not_finite_is_refused():
    network = worn(NetworkConfig(family="mlp", width=2, hidden=4))
    images = inputs(network, 2)
    images[1] = math.nan
    network.output.synapse.weight.data[0] = math.inf
    with pytest.raises(ValueError, match="not finite"):
        EarlyExit(network).decide(images, 0.0)


@given(
    st.integers(1, 70),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_rows_that_are_open_are_never_lost(samples, shares, seed):
    """Whatever decides when, each sample is decided once, by its own potentials."""
    generator = np.random.default_rng(seed)
    timesteps = len(shares)
    potentials = np.where(
        generator.random((timesteps, samples, 1)) < np.array(shares)[:, None, None], 1.0, -1.0
    ) * np.array([1.0, 0.5])
    potentials[..., 1] += np.arange(samples) / samples  # so that rows can be told apart
    record = _Record(samples, 0.9, timesteps, "first_spike")
    rows = np.arange(samples)
    carried = 0
    for t in range(timesteps):
        record.update(potentials[t, rows], t)
        carried += len(rows)
        if record.finished:
            break
        moved = record.shrink()
        if moved is not None:
            holes, movers, left = moved
            assert len(holes) == len(movers) <= len(rows) / 2
            rows[holes] = rows[movers]
            rows = rows[:left]
    expected = decide(potentials, 0.9)
    assert same(record.decision(), expected)
    # at most a sixteenth of the samples is carried along in vain at a timestep
    assert carried <= expected.decision_time.sum() + timesteps * max(1, samples // 16)
