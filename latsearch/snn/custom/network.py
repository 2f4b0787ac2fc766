"""The user's network in the place of one of latsearch's own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from latsearch.config.code import reason
from latsearch.config.trial import NetworkConfig
from latsearch.errors import LatsearchError, UserError
from latsearch.snn.custom.layers import (
    COUNTED,
    CountedLayer,
    Rhythm,
    Tap,
    is_spiking,
    uncounted_weights,
)
from latsearch.snn.families import Shape
from latsearch.snn.neurons import SpikingNeuron

_PROBE_BATCHES = (5, 7, 11)  # the first that is not T, K, or T times another dimension


class CustomNetwork(nn.Module):
    """A network of the user's own: images to output potentials.

    Args:
        module: what the user's function returned.
        config: the network's configuration.
        input_shape: ``(C, H, W)`` of the images, ``(P, H, W)`` of event frames.
        classes: K.
        where: the function's name, for messages.

    Attributes:
        timesteps: T.
        layers: its layers with weights, in the order of their first call.
        uncounted: what has weights, but cannot be counted, in words; empty as a rule.

    Raises:
        UserError: the forward pass fails, or what it returns are no potentials.
    """

    def __init__(
        self,
        module: nn.Module,
        config: NetworkConfig,
        input_shape: tuple[int, int, int],
        classes: int,
        where: str,
    ):
        super().__init__()
        self.config = config
        self.input_shape = input_shape
        self.classes = classes
        self.timesteps = config.timesteps
        self.recompute = False
        self.module = module
        self._where = where
        first_look = _Look(self)
        self.layers = tuple(first_look.layers)
        self.uncounted = tuple(first_look.uncounted)
        self._encoded, self._hidden = self._tapped(first_look.neurons)

    def forward(self, images: Tensor) -> Tensor:
        """Output potentials ``[T, B, K]`` float32.

        Args:
            images: normalised images ``[B, C, H, W]``, or event frames ``[B, T, P, H, W]``.

        Raises:
            UserError: the user's code fails, or returns no such potentials.
        """
        try:
            potentials = self.module(images)
        except LatsearchError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise UserError(
                f"network.function = {self._where}: the forward pass failed: {reason(error)}"
            ) from error
        return self._checked(potentials, len(images)).float()

    def hidden_layers(self) -> list[tuple[nn.Module, Shape]]:
        """Each layer of hidden neurons, as a module that passes their spikes, and its shape."""
        return list(self._hidden)

    def encoded(self) -> tuple[nn.Module, Shape]:
        """What the second layer receives: the encoder's spikes, as a module, and their shape."""
        return self._encoded

    def hidden_neurons(self) -> int:
        """Number of hidden neurons of one sample."""
        return sum(math.prod(shape) for _, shape in self._hidden)

    def updates(self) -> list[int]:
        """Neurons of one sample that are updated at every timestep, layer by layer."""
        if self._declared:
            return [math.prod(shape) for _, shape in self._hidden]
        return [math.prod(x.output_shape) for x in self.layers[:-1] if x.rhythm != "once"]

    def largest_layer(self) -> int:
        """Values of the largest layer of one sample and timestep."""
        shapes = [self.input_shape, *(layer.output_shape for layer in self.layers)]
        return max(math.prod(shape) for shape in shapes)

    def layer_weights(self) -> list[tuple[str, Tensor]]:
        """The layers' names, by their place, and weights."""
        names = ["encoder", *(f"layer{index}" for index in range(1, len(self.layers) - 1))]
        named = [*names[: len(self.layers) - 1], "output"]
        return [(name, x.weight) for name, x in zip(named, self.layers, strict=False)]

    def parameter_count(self) -> int:
        """Number of learned parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def use_compiled_kernels(self, compiled: bool) -> None:
        """Choose between compiled and eager kernels of latsearch's own neurons, if it has any."""
        for part in self.modules():
            if isinstance(part, SpikingNeuron):
                part.compiled = compiled

    def _checked(self, potentials: Any, batch: int) -> Tensor:
        expected = [self.timesteps, batch, self.classes]
        start = f"network.function = {self._where}: the forward pass returned"
        if not isinstance(potentials, Tensor):
            raise UserError(
                f"{start} {type(potentials).__name__}, expected a tensor of potentials [T, B, K] = "
                f"{expected}"
            )
        shape = list(potentials.shape)
        if shape != expected:
            hint = ""
            if shape == [batch, self.timesteps, self.classes]:
                hint = "; swap the first two with .transpose(0, 1)"
            elif shape == [batch, self.classes]:
                hint = "; give the potentials of every timestep, not their sum"
            raise UserError(f"{start} {shape}, expected [T, B, K] = {expected}{hint}")
        if not potentials.is_floating_point():
            raise UserError(f"{start} {potentials.dtype}, expected floating-point potentials")
        return potentials

    def _tapped(
        self, neurons: list[tuple[nn.Module, bool, Shape]]
    ) -> tuple[tuple[nn.Module, Shape], list[tuple[nn.Module, Shape]]]:
        """The encoder's and the hidden neurons' taps.

        Hidden neurons are the modules that say they spike; where none does, what the layers behind
        the second one receive stands for them.
        """
        received: list[tuple[nn.Module, Shape]] = []
        for layer in self.layers[1:]:
            tap = Tap()

            def pass_input(
                module: nn.Module,
                inputs: tuple[Any, ...],
                layer: CountedLayer = layer,
                tap: Tap = tap,
            ) -> None:
                tap(layer.rows(inputs[0]))

            layer.module.register_forward_pre_hook(pass_input)
            received.append((tap, layer.input_shape))
        self._declared = bool(neurons)
        sent: list[tuple[nn.Module, Shape]] = []
        for module, apart, shape in neurons:
            tap = Tap()

            def pass_output(
                module: nn.Module,
                inputs: tuple[Any, ...],
                out: Any,
                apart: bool = apart,
                tap: Tap = tap,
            ) -> None:
                spikes = _first(out)
                tap(spikes.flatten(0, 1) if apart else spikes)

            module.register_forward_hook(pass_output)
            sent.append((tap, shape))
        encoded = received[0] if received else (Tap(), ())
        return encoded, sent if neurons else received[1:]


class _Look:
    """A first look at a forward pass: two batches of noise, in evaluation mode.

    Torch's global random numbers stay as they were.

    Args:
        network: the network, of which nothing but the module is there yet.

    Attributes:
        layers: the layers with weights that can be counted.
        neurons: the modules that say they spike, whether time is a dimension of its own in what
            they send, and its shape.
        uncounted: what has weights but cannot be counted, in words.
    """

    def __init__(self, network: CustomNetwork):
        self.layers: list[CountedLayer] = []
        self.neurons: list[tuple[nn.Module, bool, Shape]] = []
        self.uncounted: list[str] = []
        self._timesteps = network.timesteps
        taken = {network.timesteps, network.classes}
        self._batch = next(batch for batch in _PROBE_BATCHES if batch not in taken)
        self._calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        self._run(network)
        for module, calls in self._calls.items():
            if isinstance(module, COUNTED):
                self._count(network, module, calls)
            else:
                apart, shape = self._of_a_sample(calls[0][1])
                self.neurons.append((module, apart, shape))
        counted = {layer.module for layer in self.layers}
        self.uncounted = uncounted_weights(network.module, counted)
        if not counted and not self.uncounted:
            self.uncounted = ["it, having no linear layer and no convolution"]

    def _run(self, network: CustomNetwork) -> None:
        generator = torch.Generator().manual_seed(0)
        frames = (network.timesteps,) if network.config.encoder == "frames" else ()
        shape = (self._batch, *frames, *network.input_shape)
        noise = torch.randn(shape, generator=generator, device="cpu")
        images = noise.abs().round() if frames else noise
        mode = network.training
        network.eval()
        watched = [m for m in network.module.modules() if isinstance(m, COUNTED) or is_spiking(m)]
        handles = [module.register_forward_hook(self._note) for module in watched]
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                before = network(images)
                for handle in handles:
                    handle.remove()
                after = network(images)
        finally:
            for handle in handles:
                handle.remove()
            network.train(mode)
        if not torch.allclose(before, after, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise UserError(
                f"network.function = {network._where}: the same images gave other potentials the "
                "second time, in evaluation mode; reset the neurons at the start of every forward "
                "pass, and draw no random numbers there"
            )

    def _note(self, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        sent = _first(out)
        if isinstance(sent, Tensor) and inputs and isinstance(inputs[0], Tensor):
            self._calls.setdefault(module, []).append((inputs[0], sent))

    def _count(
        self, network: CustomNetwork, module: nn.Module, calls: list[tuple[Tensor, Tensor]]
    ) -> None:
        """Add a layer, if its calls follow one of the known rhythms."""
        received, sent = calls[0]
        apart, shape = self._of_a_sample(received)
        _, out_shape = self._of_a_sample(sent)
        rows = len(received) * (received.shape[1] if apart else 1)
        still = not self.layers and network.config.encoder != "frames"
        rhythm = self._rhythm(len(calls), rows, still=still)
        if rhythm is None:
            return  # its weights are reported as uncounted
        inputs = torch.stack([x for x, _ in calls])
        whole = bool((inputs == inputs.round()).all())
        name = next(name for name, each in network.module.named_modules() if each is module)
        largest = float(inputs.abs().max()) if whole else None
        first = not self.layers
        self.layers.append(
            CountedLayer(name, module, first, rhythm, apart, shape, out_shape, largest)
        )

    def _of_a_sample(self, x: Tensor) -> tuple[bool, Shape]:
        """Whether time is a dimension of its own, and the shape of one sample and timestep."""
        apart = x.ndim > 2 and tuple(x.shape[:2]) == (self._timesteps, self._batch)
        return apart, tuple(x.shape[2:] if apart else x.shape[1:])

    def _rhythm(self, calls: int, rows: int, *, still: bool) -> Rhythm | None:
        known: dict[tuple[int, int], Rhythm] = {
            (self._timesteps, self._batch): "stepwise",
            (1, self._batch * self._timesteps): "folded",
            (1, self._batch): "once",
        }
        if self._timesteps == 1 and not still:
            known[1, self._batch] = "folded"
        return known.get((calls, rows))


def _first(out: Any) -> Any:
    """The spikes where a neuron returns them beside its potential."""
    return out[0] if isinstance(out, tuple | list) and out else out
