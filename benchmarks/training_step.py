"""One training step of ours beside SpikingJelly, snnTorch and an ordinary network.

All train one shape: a convolutional network of seven weight layers (w, w | 2w, 2w | 4w, 4w and the
output; batch normalisation after each convolution, pooling at the bars) on random images, forward,
loss, backward and optimiser, batch 128:

- ours: the step of `latsearch run` (latency encoder, IF neurons, TAD loss, compiled kernels),
  channels last.
- SpikingJelly 2 multi-step and snnTorch 1 step by step, each as its tutorials write a convolutional
  classifier: the image repeated at every timestep, IF neurons (snnTorch: Leaky), cross-entropy of
  the mean output.
- relu: the same layers with ReLU on T·B samples, channels last: what the convolutions alone cost.

Each setting's subjects run interleaved in one process; figures are medians. Memory is the peak of a
fresh process that does three steps, less that of one that only imports.

    python benchmarks/training_step.py --quick
    python benchmarks/training_step.py --json training_step.json --plot training_step.png
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latsearch.config.trial import NetworkConfig, StageConfig, TrainConfig
from latsearch.snn.losses import LossRule, decision_loss
from latsearch.snn.networks import build_network
from latsearch.snn.optimization import build_optimizer

CLASSES = 10
Step = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Setting:
    """One row of the table: sizes and precision."""

    width: int
    timesteps: int
    size: int
    precision: str
    batch: int = 128

    def autocast(self) -> AbstractContextManager[object]:
        """bfloat16 where the precision says so."""
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def data(self) -> tuple[Tensor, Tensor]:
        """Random images and labels."""
        torch.manual_seed(0)
        images = torch.randn(self.batch, 1 if self.size == 28 else 3, self.size, self.size)
        return images, torch.randint(0, CLASSES, (self.batch,))

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return 1 if self.size == 28 else 3


def ours(setting: Setting, *, compiled: bool = True) -> Step:
    """The step of latsearch's own trainer."""
    w = setting.width
    stages = tuple(
        StageConfig(channels=channels, blocks=blocks)
        for channels, blocks in ((w, 1), (2 * w, 2), (4 * w, 2))
    )
    config = NetworkConfig(family="stages", stages=stages, timesteps=setting.timesteps)
    train = TrainConfig()
    network = build_network(config, (setting.channels, setting.size, setting.size), CLASSES).train()
    network.use_compiled_kernels(compiled)
    optimizer = build_optimizer(network, train)
    rule = LossRule.of(train, config)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with setting.autocast():
            potentials = network(images)
        loss, _ = decision_loss(potentials, labels, rule)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def layers(setting: Setting) -> Iterator[tuple[int, int, bool]]:
    """Input and output channels of the convolutions, and whether pooling follows."""
    w = setting.width
    inputs = setting.channels
    for channels, pools in ((w, 0), (w, 1), (2 * w, 0), (2 * w, 1), (4 * w, 0), (4 * w, 1)):
        yield inputs, channels, bool(pools)
        inputs = channels


def flat_features(setting: Setting) -> int:
    """Inputs of the output layer."""
    return 4 * setting.width * (setting.size // 8) ** 2


def relu(setting: Setting) -> Step:
    """An ordinary network on T·B samples, as fast as PyTorch's own layers go."""
    parts: list[nn.Module] = []
    for inputs, outputs, pools in layers(setting):
        parts += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            *([nn.MaxPool2d(2)] if pools else []),
        ]
    network = nn.Sequential(*parts, nn.Flatten(), nn.Linear(flat_features(setting), CLASSES))
    network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        samples = images.repeat(setting.timesteps, 1, 1, 1)
        samples = samples.contiguous(memory_format=torch.channels_last)
        with setting.autocast():
            logits = network(samples)
        loss = F.cross_entropy(logits.float(), labels.repeat(setting.timesteps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def spikingjelly(setting: Setting) -> Step:
    """SpikingJelly's tutorial "Convolutional SNN to classify FMNIST", multi-step mode."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    parts: list[nn.Module] = []
    for inputs, outputs, pools in layers(setting):
        parts += [
            layer.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            layer.BatchNorm2d(outputs),
            neuron.IFNode(surrogate_function=surrogate.ATan()),
            *([layer.MaxPool2d(2, 2)] if pools else []),
        ]
    network = nn.Sequential(
        *parts, layer.Flatten(), layer.Linear(flat_features(setting), CLASSES, bias=False)
    ).train()
    functional.set_step_mode(network, "m")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        sequence = images.unsqueeze(0).repeat(setting.timesteps, 1, 1, 1, 1)
        with setting.autocast():
            output = network(sequence).mean(0)
            loss = F.cross_entropy(output, labels)
        loss.backward()
        optimizer.step()
        functional.reset_net(network)
        return loss.detach()

    return step


def snntorch(setting: Setting) -> Step:
    """SnnTorch's tutorial 6, "Surrogate gradient descent in a convolutional SNN"."""
    import snntorch as snn
    from snntorch import surrogate, utils

    parts: list[nn.Module] = []
    for inputs, outputs, pools in layers(setting):
        parts += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            *([nn.MaxPool2d(2)] if pools else []),
            snn.Leaky(beta=0.5, spike_grad=surrogate.fast_sigmoid(slope=25), init_hidden=True),
        ]
    network = nn.Sequential(
        *parts, nn.Flatten(), nn.Linear(flat_features(setting), CLASSES, bias=False)
    ).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        utils.reset(network)
        with setting.autocast():
            outputs = [network(images) for _ in range(setting.timesteps)]
            loss = F.cross_entropy(torch.stack(outputs).mean(0), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


SUBJECTS: dict[str, Callable[[Setting], Step]] = {
    "ours": ours,
    "spikingjelly": spikingjelly,
    "snntorch": snntorch,
    "relu": relu,
}


def measure(setting: Setting, budget: float) -> dict[str, float]:
    """Median seconds of a step of each subject, interleaved: 3 to 9 times, within the budget."""
    images, labels = setting.data()
    steps = {name: make(setting) for name, make in SUBJECTS.items()}
    for step in steps.values():  # compilers, allocators and caches
        step(images, labels)
        step(images, labels)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + budget
    for repetition in range(9):
        if repetition >= 3 and time.perf_counter() > end:
            break
        for name, step in steps.items():
            start = time.perf_counter()
            step(images, labels)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _peak(name: str | None, setting: Setting, found: multiprocessing.Queue[float]) -> None:
    images, labels = setting.data()
    if name is not None:
        step = SUBJECTS[name](setting)
        for _ in range(3):
            step(images, labels)
    status = Path("/proc/self/status").read_text()  # getrusage's peak outlives a fork and exec
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    found.put(int(kilobytes) / 1024)


def peak_memory(setting: Setting) -> dict[str, float]:
    """Peak MB of three steps of each subject, each in a process of its own."""
    context = multiprocessing.get_context("spawn")

    def run(name: str | None) -> float:
        found = context.Queue()
        process = context.Process(target=_peak, args=(name, setting, found))
        process.start()
        megabytes = found.get(timeout=600)
        process.join()
        return megabytes

    base = run(None)
    return {name: run(name) - base for name in SUBJECTS}


def settings(quick: bool) -> list[Setting]:
    """The rows: all sizes, or the one that the targets are about in both precisions."""
    if quick:
        return [Setting(16, 4, 28, precision) for precision in ("fp32", "bf16")]
    return [
        Setting(width, timesteps, size, precision)
        for size in (28, 32)
        for width in (16, 32, 64)
        for timesteps in (1, 2, 4)
        for precision in ("fp32", "bf16")
    ]


def figures(rows: list[tuple[Setting, dict[str, float]]]) -> dict[str, float]:
    """The flat figures: medians over the settings of T = 4, our step beside theirs."""
    last = [(s, seconds) for s, seconds in rows if s.timesteps == 4]

    def median(name: str, *, over: bool) -> float:
        ratios = [s[name] / s["ours"] if over else s["ours"] / s[name] for _, s in last]
        return statistics.median(ratios)

    # our default takes bfloat16 where the processor is faster with it, the tutorials float32
    defaults = {(s.width, s.size, s.precision): seconds for s, seconds in last}
    fast = "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    against = [
        seconds["spikingjelly"] / defaults[width, size, fast]["ours"]
        for (width, size, precision), seconds in defaults.items()
        if precision == "fp32"
    ]
    return {
        "speedup_vs_spikingjelly": median("spikingjelly", over=True),
        "speedup_vs_snntorch": median("snntorch", over=True),
        "time_vs_relu": median("relu", over=False),
        "default_vs_spikingjelly_default": statistics.median(against),
    }


def plot(rows: list[tuple[Setting, dict[str, float]]], file: Path) -> None:
    """Milliseconds of a step against T for each width, at 28x28."""
    import matplotlib.pyplot as plt

    widths = sorted({s.width for s, _ in rows})
    figure, axes = plt.subplots(
        1, len(widths), figsize=(4 * len(widths), 3.4), squeeze=False, layout="constrained"
    )
    for axis, width in zip(axes[0], widths, strict=True):
        for name in SUBJECTS:
            for precision, dashes in (("fp32", "-"), ("bf16", "--")):
                points = [
                    (s.timesteps, seconds[name] * 1e3)
                    for s, seconds in rows
                    if (s.width, s.size, s.precision) == (width, 28, precision)
                ]
                axis.plot(*zip(*sorted(points), strict=True), dashes, label=f"{name} {precision}")
        axis.set(title=f"width {width}", xlabel="timesteps T", ylabel="ms a step", yscale="log")
        axis.set_xticks(sorted({s.timesteps for s, _ in rows}))
    figure.legend(*axes[0][0].get_legend_handles_labels(), fontsize=6, loc="outside right")
    figure.savefig(file, dpi=150)


def main() -> None:
    """Measure, print the table, write the files asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two settings, under a minute")
    parser.add_argument("--json", type=Path, help="write the figures")
    parser.add_argument("--plot", type=Path, help="draw milliseconds against T")
    arguments = parser.parse_args()

    print(__doc__.split("\n\n    python")[0])
    print(f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("size  width  T  precision " + "".join(f"{name:>14}" for name in SUBJECTS) + "  (ms)")
    rows = []
    for setting in settings(arguments.quick):
        seconds = measure(setting, 8.0)
        rows.append((setting, seconds))
        times = "".join(f"{value * 1e3:14.1f}" for value in seconds.values())
        row = f"{setting.size:4}  {setting.width:5}  {setting.timesteps}  {setting.precision:9}"
        print(f"{row} {times}", flush=True)
    found = figures(rows)
    memory = peak_memory(Setting(16, 4, 28, "fp32"))
    print("\npeak MB at width 16, T = 4, 28x28, fp32: ", end="")
    print(", ".join(f"{name} {value:.0f}" for name, value in memory.items()))
    found |= {f"peak_mb_{name}": value for name, value in memory.items()}
    for name, value in found.items():
        print(f"{name:34} {value:.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
