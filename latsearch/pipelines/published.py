"""Published figures to set beside ours, each with its source; none is ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published test accuracy.

    Attributes:
        method: what it is called.
        accuracy: a fraction.
        timesteps: as it is given: the number of timesteps T, or the mean decision time.
        source: where it is from.
    """

    method: str
    accuracy: float
    timesteps: str
    source: str


PAPER = "Lu, Ding, Yu: latency coding framework (VGG-11)"
_PAPER_SOURCE = "arXiv 2603.23206, abstract and review"

# Figures of the papers' abstracts, or of the repositories named. What is not there is not known
# to us: the first paper's abstract gives no energies, ablations or corruption errors in figures.
PUBLISHED: dict[str, tuple[Published, ...]] = {
    "cifar10": (
        Published(PAPER, 0.9360, "about 1 (mean)", _PAPER_SOURCE),
        Published("Parallel-TTFS", 0.9506, "", "AAAI-26, abstract"),
        Published("SEENN-II, ResNet-19", 0.961, "1.08 (mean)", "its abstract"),
        Published("SDSNN", 0.9220, "1", "arXiv 2508.10913, abstract"),
        Published("ETTFS", 0.9056, "", "arXiv 2410.23619, abstract"),
    ),
    "cifar100": (
        Published("Parallel-TTFS", 0.7407, "", "AAAI-26, abstract"),
        Published("SDSNN", 0.6945, "1", "arXiv 2508.10913, abstract"),
    ),
    "fashion-mnist": (
        Published("PLIF, best epoch on the test set", 0.9438, "8", "its repository's README"),
        Published("PLIF, held-out validation split", 0.9385, "8", "its repository's README"),
        Published("SDSNN", 0.9372, "1", "arXiv 2508.10913, abstract"),
        Published("Parallel-TTFS", 0.9314, "", "AAAI-26, abstract"),
        Published("multi-threshold LIF", 0.9308, "2", "arXiv 2112.07426, abstract"),
        Published("ETTFS v2", 0.9290, "", "arXiv 2410.23619, abstract"),
    ),
}
