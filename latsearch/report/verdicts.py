"""What the stored figures answer about the claims that latency codes are made for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latsearch.config import PROFILES
from latsearch.config.energy import EnergyProfile
from latsearch.config.trial import CUSTOM
from latsearch.data.catalogue import DATASETS
from latsearch.objectives import OperatingPoint
from latsearch.quantised import quantised_rival
from latsearch.report.content import Content
from latsearch.report.words import figure
from latsearch.search.trials import TrialRecord

if TYPE_CHECKING:
    from latsearch.snn.networks import Network

YES, NO, OPEN = "yes", "no", "cannot be told"
_ONE_TIMESTEP = 0.95  # from this share on at one timestep, decision times adapt to nothing
_QUANTISED = "horowitz-45nm-int8"


@dataclass(frozen=True)
class Verdict:
    """A question, and what the study's figures say to it.

    Attributes:
        question: one that can be answered with yes or no.
        answer: ``yes``, ``no`` or ``cannot be told``.
        words: the figures that it rests on.
    """

    question: str
    answer: str
    words: str


def verdicts(content: Content) -> list[Verdict]:
    """Everything that can be asked of a study that has a front."""
    if not content.front:
        return []
    return [
        _time_pays(content),
        _decides_at_different_times(content),
        *_cheaper_than_ordinary_networks(content),
        _cheaper_than_few_bits(content),
    ]


def _time_pays(content: Content) -> Verdict:
    """The best network with timesteps against the best one-timestep network at its energy."""
    question = "Do more timesteps than one help, at equal energy?"
    everything = [*content.front, *content.points]
    timed = [point for point in everything if _timesteps(point, content) > 1]
    single = [point for point in everything if _timesteps(point, content) == 1]
    if not timed or not single:
        lacking = "more than one timestep" if single else "one timestep"
        return Verdict(question, OPEN, f"No measured network has {lacking}.")
    best = max(timed, key=lambda point: (point.metrics["accuracy"], -point.metrics["energy"]))
    within = [p for p in single if p.metrics["energy"] <= best.metrics["energy"]]
    if not within:
        return Verdict(
            question,
            OPEN,
            f"No one-timestep network takes at most the {figure('energy', best.metrics['energy'])} "
            f"nJ of {_name(best)}.",
        )
    rival = max(within, key=lambda point: point.metrics["accuracy"])
    ahead = best.metrics["accuracy"] - rival.metrics["accuracy"]
    error = math.hypot(*(content.error(p.metrics["accuracy"]) for p in (best, rival)))
    answer = YES if ahead > 2 * error else NO if ahead < -2 * error else OPEN
    return Verdict(
        question,
        answer,
        f"{_name(best)}: {_accuracy(best)}; best with one timestep and no more energy, "
        f"{_name(rival)}: {_accuracy(rival)}. The difference of {100 * ahead:+.2f} points has a "
        f"standard error of {100 * error:.2f} at most; two of them count as a difference.",
    )


def _decides_at_different_times(content: Content) -> Verdict:
    """Whether the most accurate point with timesteps decides some samples before others."""
    question = "Do easy samples decide earlier than others?"
    for point in content.front:  # the most accurate first
        times = _times(content.record(point.trial), point)
        if _timesteps(point, content) == 1 or times is None:
            continue
        share = max(times) / sum(times)
        spread = ", ".join(f"{count / sum(times):.1%} at t = {t}" for t, count in _numbered(times))
        return Verdict(
            question,
            YES if share < _ONE_TIMESTEP else NO,
            f"{_name(point)} ({_accuracy(point)}) decides {spread}; with {_ONE_TIMESTEP:.0%} at "
            "one timestep the times would adapt to nothing.",
        )
    return Verdict(question, OPEN, "No trial of the front has stored its decision times.")


def _cheaper_than_ordinary_networks(content: Content) -> Iterator[Verdict]:
    """The knee, or what stands for it, against an ordinary network of its shape."""
    point = content.recommended[0].point
    network = _network(content, content.record(point.trial))
    measured = PROFILES[content.config.energy.profile]
    rivals = {measured.name: f"at the same prices ({measured.name})"}
    if not measured.sram:  # else the rival's memory would be free
        rivals[_QUANTISED] = f"in 8 bits ({_QUANTISED})"
    for name, kind in rivals.items():
        question = f"Does it take less energy than an ordinary network of its shape {kind}?"
        if network is None:
            yield Verdict(question, OPEN, _unknown(content, point))
        elif measured.host_mac:
            words = f"{measured.name} has no price of the multiply-accumulates of such a network."
            yield Verdict(question, OPEN, words)
        else:
            yield _cheaper_than(network, point, question, PROFILES[name])


def _cheaper_than(
    network: Network, point: OperatingPoint, question: str, profile: EnergyProfile
) -> Verdict:
    from latsearch.snn.energy import ordinary_energy  # torch takes seconds to import

    energy, ordinary = point.metrics["energy"], ordinary_energy(network, profile)
    return Verdict(
        question,
        YES if energy < ordinary else NO,
        f"{_name(point)}: {figure('energy', energy)} nJ; the same layers once, without spikes, "
        f"take {_macs(network):,.0f} MACs, {figure('energy', ordinary)} nJ: a factor of "
        f"{ordinary / energy:.2g}. Whether that network would be as accurate was not measured.",
    )


def _cheaper_than_few_bits(content: Content) -> Verdict:
    """The knee, or what stands for it, against a network with as many codes an activation."""
    question = "Does it take less energy than a quantised network of its shape, with memory?"
    point = content.recommended[0].point
    record = content.record(point.trial)
    network, last = _network(content, record), record.last
    operations = last.metrics.get("synaptic_operations", math.nan) if last else math.nan
    if network is None or not math.isfinite(operations):
        return Verdict(question, OPEN, "The synaptic operations or the shape are not stored.")
    rival = quantised_rival(_timesteps(point, content), operations, _macs(network, stem=False))
    answer = {True: YES, False: NO, None: OPEN}[rival.cheaper]
    words = f"Trial {point.trial}, counted up to T: {rival.words()}"
    return Verdict(question, answer, words)


def _network(content: Content, record: TrialRecord) -> Network | None:
    """The trial's network without memory for its weights.

    None where its input is not known, or where it is the user's own code that may not run, does
    not run any more, or cannot be counted.
    """
    from latsearch.errors import UserError
    from latsearch.snn.custom import CustomNetwork
    from latsearch.snn.networks import build_any

    info = DATASETS[content.config.data.name].info
    if info.shape is None or info.classes is None:
        return None
    config = content.config.space.trial(record.values).network
    try:
        network = build_any(config, info.shape, info.classes, meta=True)
    except UserError:
        if config.family == CUSTOM:
            return None
        raise
    return None if isinstance(network, CustomNetwork) and network.uncounted else network


def _unknown(content: Content, point: OperatingPoint) -> str:
    """Why there is no network to compare with."""
    config = content.config.space.trial(content.record(point.trial).values).network
    if config.family == CUSTOM:
        return (
            "The network is the user's own code. This report did not run it, or could not count "
            "its operations: latsearch report --allow-code."
        )
    return "The shape of the samples is not known any more."


def _macs(network: Network, *, stem: bool = True) -> float:
    """Multiply-accumulates of an ordinary network with the same layers, with its stem or not."""
    from latsearch.snn.energy import ordinary_macs

    return ordinary_macs(network, stem=stem)


def _timesteps(point: OperatingPoint, content: Content) -> int:
    fixed = content.config.space.fixed
    return int(point.params.get("network.timesteps", fixed.get("network.timesteps", 1)))


def _times(record: TrialRecord, point: OperatingPoint) -> tuple[int, ...] | None:
    last = record.last
    return last.decision_times[point.row] if last and last.decision_times else None


def _numbered(times: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    return ((t, count) for t, count in enumerate(times, start=1) if count)


def _name(point: OperatingPoint) -> str:
    where = figure("decision_threshold", point.decision_threshold)
    return f"trial {point.trial} at {where if where == 'readout' else f'threshold {where}'}"


def _accuracy(point: OperatingPoint) -> str:
    return figure("accuracy", point.metrics["accuracy"])
