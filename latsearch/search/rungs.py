"""Which trials go on: multi-objective asynchronous successive halving over decision curves.

The decisions are a fold over the study's append-only report log (docs/early_stopping.md has the
formulas and an example): pure, so that a search that goes on after a crash decides the same.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import moocore
import numpy as np

from latsearch import pareto
from latsearch.config import ScreeningConfig, StoppingConfig
from latsearch.objectives import FloatArray
from latsearch.search.trials import SCREENED

WINDOW = 128  # newest arrivals that a newcomer is ranked among: the cost of a decision stays flat
_MARGIN = 0.1  # how far the reference point lies beyond the worst rows, in ranges of the rung
_DIGITS = 12  # of a normalised hypervolume; noise beyond them must not break a tie


@dataclass(frozen=True, eq=False)
class Standing:
    """What a trial's curve at a rung counts for.

    Attributes:
        trial: number of the trial.
        losses: ``[F, M]`` nondominated rows of the curve that keep every constraint, less is
            better, in lexicographic order; none where no row keeps them.
        violation: by how much the least violating row breaks the constraints; 0 where one keeps
            them, inf where no row is finite.
    """

    trial: int
    losses: FloatArray
    violation: float

    @classmethod
    def of(cls, trial: int, losses: FloatArray, violations: FloatArray) -> Standing:
        """The standing of a measured curve.

        Args:
            trial: number of the trial.
            losses: ``[R, M]`` rows of the curve, less is better; rows that are not finite do not
                count.
            violations: ``[R]`` by how much each row breaks the constraints, 0 where it keeps them.

        Raises:
            ValueError: the shapes do not fit.
        """
        if losses.ndim != 2 or violations.shape != losses.shape[:1]:
            raise ValueError(
                f"losses must be [R, M] and violations [R], got {losses.shape}, {violations.shape}"
            )
        finite = np.isfinite(losses).all(axis=1) & np.isfinite(violations)
        able = losses[finite & (violations <= 0)]
        rows = able[pareto.nondominated(able)]
        violation = 0.0 if len(rows) else float(violations[finite].min(initial=math.inf))
        return cls(trial, rows[np.lexsort(rows.T[::-1])], violation)


def ranked(standings: Sequence[Standing]) -> Iterator[int]:
    """Numbers of the trials at a rung, best first; their order of arrival does not matter.

    1. Trials with a row that keeps the constraints come first, the others by least violation.
    2. Among the former, nondominated sorting of all their rows: a trial is as good as the best
       front that one of its rows is on.
    3. Within a front, the trial that adds most hypervolume to those already ranked comes next;
       each objective is scaled to the range of the rung's rows, the reference point a tenth of it
       beyond the worst.
    4. What is equal until here goes by number.

    Args:
        standings: one a trial, any number of objectives.

    Returns:
        The numbers; only as much of the order is computed as is taken.
    """
    able, others = _sorted(standings)
    for members in _fronts(able):
        for index in _by_added_volume([rows for _, rows in members]):
            yield members[index][0]
    yield from others


def among_best(standings: Sequence[Standing], trial: int, count: int) -> bool:
    """Whether a trial is one of the first ``count`` of `ranked`, without ranking more than needed.

    Args:
        standings: one a trial.
        trial: number of the trial, one of them.
        count: how many are the best.
    """
    able, others = _sorted(standings)
    if trial in others:
        return len(able) + others.index(trial) < count
    left = count
    for members in _fronts(able):
        numbers = [number for number, _ in members]
        if trial in numbers:
            if left <= 0 or len(members) <= left:
                return left > 0
            order = _by_added_volume([rows for _, rows in members])
            return numbers.index(trial) in islice(order, left)
        left -= len(members)
    raise ValueError(f"trial {trial} is not at the rung")


def _sorted(standings: Sequence[Standing]) -> tuple[list[Standing], list[int]]:
    """Those with a row that keeps the constraints by number; the numbers of the others by rank."""
    able = sorted((s for s in standings if len(s.losses)), key=lambda s: s.trial)
    others = sorted((s.violation, s.trial) for s in standings if not len(s.losses))
    return able, [trial for _, trial in others]


def _fronts(able: Sequence[Standing]) -> Iterator[list[tuple[int, FloatArray]]]:
    """Numbers and scaled rows of the trials of each front, best front first."""
    if not able:
        return
    rows = np.concatenate([standing.losses for standing in able])
    starts = np.cumsum([0, *(len(standing.losses) for standing in able[:-1])])
    fronts = np.minimum.reduceat(moocore.pareto_rank(rows), starts)
    low, high = rows.min(axis=0), rows.max(axis=0)
    scaled = np.split((rows - low) / np.where(high > low, high - low, 1.0), starts[1:])
    for front in np.unique(fronts):
        yield [(able[int(i)].trial, scaled[int(i)]) for i in np.flatnonzero(fronts == front)]


def _by_added_volume(curves: Sequence[FloatArray]) -> Iterator[int]:
    """Indices of the curves, next always the one that adds most hypervolume to those before it.

    What a curve adds only shrinks as more are taken (hypervolume is submodular), so a curve whose
    outdated figure is not the largest need not be measured again.
    """
    reference = np.full(curves[0].shape[1], 1.0 + _MARGIN)
    taken, volume, count = curves[0][:0], 0.0, 0
    heap = [(-math.inf, index, -1) for index in range(len(curves))]
    while heap:
        _, index, measured = heapq.heappop(heap)
        joined = np.concatenate([taken, curves[index]])
        whole = pareto.hypervolume(joined, reference)
        if measured < count:
            heapq.heappush(heap, (-round(whole - volume, _DIGITS), index, count))
            continue
        taken, volume, count = joined[pareto.nondominated(joined)], whole, count + 1
        yield index


def levels(stopping: StoppingConfig | None, epochs: int) -> tuple[int, ...]:
    """Epochs of the rungs of a trial, all below its full budget.

    Halving has them at r·ηᵏ, k = 0, 1, …, the median rule at r, 2r, 3r, …

    Args:
        stopping: the rule with r = ``min_epochs`` and η = ``reduction_factor``; None for no rule.
        epochs: the trial's full budget R.

    Example:
        >>> levels(StoppingConfig(min_epochs=4, reduction_factor=3), epochs=100)
        (4, 12, 36)
    """
    if stopping is None or stopping.rule == "none":
        return ()
    if stopping.rule == "median":
        return tuple(range(stopping.min_epochs, epochs, stopping.min_epochs))
    found, level = [], stopping.min_epochs
    while level < epochs:
        found.append(level)
        level *= stopping.reduction_factor
    return tuple(found)


def most_epochs(
    stopping: StoppingConfig | None,
    epochs: int,
    trials: int,
    screening: ScreeningConfig | None = None,
) -> float:
    """Most epochs that trials of one budget train together under a rule.

    Of halving's n trials at a rung at most ⌈n/η⌉ go on; the other rules set no limit. A screening
    counts by its samples.

    Args:
        stopping: the rule; None for no rule.
        epochs: full budget R of each trial.
        trials: how many start.
        screening: what comes before the first epoch; None for nothing.

    Example:
        >>> most_epochs(StoppingConfig(min_epochs=4, reduction_factor=3), epochs=100, trials=9)
        148
    """
    total = 0.0
    if screening is not None:
        total = screening.cost * trials
        trials = math.ceil(trials / screening.reduction_factor)
    if stopping is None or stopping.rule != "halving":
        return total + epochs * trials
    begin = 0
    for end in (*levels(stopping, epochs), epochs):
        total += trials * (end - begin)
        trials, begin = math.ceil(trials / stopping.reduction_factor), end
    return total


class Rungs:
    """Decides who goes on; a fold over the reports at rungs in their order in the log.

    Asynchronous successive halving (Li et al. 2018, arXiv 1810.05934) in its stopping form, with
    minimum resource r = ``min_epochs``, reduction factor η = ``reduction_factor``, maximum
    resource R = the trial's own ``train.epochs`` and early-stopping rate s = 0. The n-th trial to
    reach a rung goes on if

    * it is among the best ⌈n/η⌉ of the trials that reached it so far (`ranked`), and
    * fewer than ⌈n/η⌉ of them went on, so that of any first n at most ⌈n/η⌉ do, also where
      everything is nondominated or each newcomer is better than all before.

    The median rule lets a trial go on that is among the best ⌈n/2⌉, and has no second condition.
    A trial without a finite row never goes on. Nobody waits: a decision depends on what is in the
    log before it, and is never revised.

    A screening has the rung `SCREENED`, at which halving with its own reduction factor decides.
    """

    def __init__(self, stopping: StoppingConfig | None, screening: ScreeningConfig | None = None):
        """Start with empty rungs; None for no rule, and for no screening."""
        self._stopping = stopping
        self._screening = screening
        self._rungs: dict[int, _Rung] = {}

    def levels(self, epochs: int) -> tuple[int, ...]:
        """Epochs of the rungs of a trial with this full budget."""
        first = () if self._screening is None else (SCREENED,)
        return (*first, *levels(self._stopping, epochs))

    def rule(self, level: int) -> str:
        """What the decisions at a rung depend on besides the reports, as text."""
        if level == SCREENED and self._screening is not None:
            return "screening {reduction_factor}".format(**self._screening.model_dump())
        if self._stopping is None:
            return "none"
        return "{rule} {reduction_factor} {min_epochs}".format(**self._stopping.model_dump())

    def counts(self, level: int) -> tuple[int, int]:
        """How many trials came to a rung, and how many of them went on."""
        rung = self._rungs.get(level, _Rung())
        return rung.arrived, rung.went_on

    def report(self, level: int, standing: Standing, decided: bool | None = None) -> bool:
        """Take a trial's arrival at a rung; whether it goes on.

        Args:
            level: epoch of the rung.
            standing: what the trial's curve at that epoch counts for.
            decided: what was decided on this arrival by the same rule; None if it was not yet.

        Raises:
            ValueError: there is no rung at this epoch.
        """
        if level not in self.levels(level + 1):
            raise ValueError(f"there is no rung at epoch {level}")
        rung = self._rungs.setdefault(level, _Rung())
        rule = self._screening if level == SCREENED else self._stopping
        assert rule is not None
        halving = isinstance(rule, ScreeningConfig) or rule.rule == "halving"
        factor = rule.reduction_factor if halving else 2
        if decided is None:
            decided = rung.decide(standing, factor, halving)
        return rung.take(standing, decided)


class _Rung:
    """Who came to a rung, and how many went on."""

    def __init__(self) -> None:
        self._newest: deque[Standing] = deque(maxlen=WINDOW)
        self.arrived = 0
        self.went_on = 0

    def decide(self, standing: Standing, factor: int, budget: bool) -> bool:
        """Whether the next one to arrive goes on."""
        if standing.violation == math.inf:
            return False
        if budget and self.went_on >= math.ceil((self.arrived + 1) / factor):
            return False
        newest = [*self._newest, standing][-WINDOW:]
        return among_best(newest, standing.trial, math.ceil(len(newest) / factor))

    def take(self, standing: Standing, goes_on: bool) -> bool:
        """Count the next one to arrive."""
        self._newest.append(standing)
        self.arrived += 1
        self.went_on += goes_on
        return goes_on
