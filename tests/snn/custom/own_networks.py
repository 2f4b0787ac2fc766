"""Networks as users write them, named by the tests as ``tests.snn.custom.own_networks:…``."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from latsearch.snn.encoding import latency_spikes
from latsearch.snn.networks import build_network
from latsearch.snn.neurons import build_neuron


class Centred(nn.Linear):
    """Weights centred over the classes, as latsearch's output layer has them."""

    def forward(self, x):
        return F.linear(x, self.weight - self.weight.mean(0, keepdim=True))


class Block(nn.Module):
    """Pooling, weights, batch normalisation and neurons, with a lasting synaptic current."""

    def __init__(self, projection, config, pool):
        super().__init__()
        weight = projection.synapse.weight
        if weight.ndim == 4:
            self.synapse = nn.Conv2d(
                weight.shape[1], weight.shape[0], weight.shape[2], padding=2, bias=False
            )
        else:
            self.synapse = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.norm = (nn.BatchNorm2d if weight.ndim == 4 else nn.BatchNorm1d)(weight.shape[0])
        self.neuron = build_neuron(config, config.timesteps)
        self.timesteps = config.timesteps
        self.pool = pool

    def forward(self, spikes):
        if self.pool:
            spikes = 4 * F.avg_pool2d(spikes, 2)
        if isinstance(self.synapse, nn.Linear):
            spikes = spikes.flatten(1)
        current = self.synapse(spikes)
        current = current.view(self.timesteps, -1, *current.shape[1:]).cumsum(0).flatten(0, 1)
        return self.neuron(self.norm(current))


class Twin(nn.Module):
    """latsearch's own network of the same configuration, written anew with its weights."""

    def __init__(self, config, network):
        super().__init__()
        self.timesteps = config.timesteps
        encoder = network.encoder
        self.conv = nn.Conv2d(
            1, encoder.conv.out_channels, 3, stride=config.stem_stride, padding=1, bias=False
        )
        self.norm = nn.BatchNorm2d(encoder.conv.out_channels, affine=False)
        self.gain = nn.Parameter(encoder.gain.detach().clone())
        self.shift = nn.Parameter(encoder.shift.detach().clone())
        pooled = network.output.pool or network.hidden[0].projection.pool
        self.blocks = nn.Sequential(
            *(Block(layer.projection, config, bool(pooled)) for layer in network.hidden)
        )
        shape = network.output.synapse.weight.shape
        self.output = Centred(shape[1], shape[0], bias=False)
        self.take_over(network)

    def take_over(self, network):
        self.conv.load_state_dict(network.encoder.conv.state_dict())
        self.norm.load_state_dict(network.encoder.norm.state_dict())
        for block, layer in zip(self.blocks, network.hidden, strict=True):
            block.synapse.load_state_dict(layer.projection.synapse.state_dict())
            block.norm.load_state_dict(layer.projection.norm.state_dict())
        self.output.weight.data.copy_(network.output.synapse.weight.data)

    def forward(self, images):
        z = self.norm(self.conv(images))
        z = z * F.softplus(self.gain)[:, None, None] + self.shift[:, None, None]
        spikes = latency_spikes(z, self.timesteps, 1.0, "linear").flatten(0, 1)
        current = self.output(self.blocks(spikes).flatten(1))
        return current.view(self.timesteps, len(images), -1).cumsum(0)


def twin(config, input_shape, classes):
    """A network of the family that the options name, written anew."""
    named = replace(config, family=config.options["family"], hidden=config.options["hidden"])
    return Twin(named, build_network(named, input_shape, classes))


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.clamp(1 - x.abs(), min=0)


class PlainLoop(nn.Module):
    """An ordinary spiking network: two linear layers in a loop over time."""

    def __init__(self, config, inputs, classes):
        super().__init__()
        self.timesteps, self.threshold = config.timesteps, config.firing_threshold
        self.first = nn.Linear(inputs, config.options["width"])
        self.second = nn.Linear(config.options["width"], classes)

    def forward(self, images):
        x = images.flatten(1)
        v, out, potentials = 0.0, 0.0, []
        for _ in range(self.timesteps):
            v = v + self.first(x)
            spikes = _Spike.apply(v - self.threshold)
            v = v * (1 - spikes.detach())
            out = out + self.second(spikes)
            potentials.append(out)
        return torch.stack(potentials)


def plain_loop(config, input_shape, classes):
    channels, height, width = input_shape
    return PlainLoop(config, channels * height * width, classes)


class Changed(nn.Module):
    """A plain loop whose output is changed."""

    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, images):
        return self.change(self.network(images))


def changed(change):
    return lambda config, shape, classes: Changed(plain_loop(config, shape, classes), change)


swapped = changed(lambda v: v.transpose(0, 1))
summed = changed(lambda v: v.sum(0))
whole = changed(lambda v: v.long())
listed = changed(lambda v: list(v))
random = changed(lambda v: v + torch.rand_like(v))


def misfit(config, input_shape, classes):
    return PlainLoop(config, 10, classes)


def missing_option(config, input_shape, classes):
    return nn.Linear(config.options["depth"], 2)


def no_module(config, input_shape, classes):
    return 3


def untrained(config, input_shape, classes):
    return nn.Flatten()


def two_arguments(config, input_shape):
    return nn.Flatten()


class Recurrent(nn.Module):
    """A part with weights that are not applied as a linear layer."""

    def __init__(self, config, inputs, classes):
        super().__init__()
        self.timesteps = config.timesteps
        self.rnn = nn.RNN(inputs, 8)
        self.out = nn.Linear(8, classes)

    def forward(self, images):
        hidden, _ = self.rnn(images.flatten(1).expand(self.timesteps, -1, -1))
        return self.out(hidden).cumsum(0)


def recurrent(config, input_shape, classes):
    channels, height, width = input_shape
    return Recurrent(config, channels * height * width, classes)


def spikingjelly(config, input_shape, classes):
    """As SpikingJelly's tutorials write it, multi-step."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    channels, height, width = input_shape
    net = nn.Sequential(
        layer.Conv2d(channels, 4, 3, padding=1, bias=False),
        layer.BatchNorm2d(4),
        neuron.IFNode(surrogate_function=surrogate.ATan()),
        layer.MaxPool2d(2, 2),
        layer.Flatten(),
        layer.Linear(4 * (height // 2) * (width // 2), classes),
    )
    functional.set_step_mode(net, "m")

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, images):
            functional.reset_net(self.net)
            return self.net(images.expand(config.timesteps, *images.shape)).cumsum(0)

    return Network()


def snntorch(config, input_shape, classes):
    """As snnTorch's tutorials write it, step by step."""
    import snntorch as snn

    channels, height, width = input_shape

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(channels * height * width, 16), snn.Leaky(beta=0.9)
            self.fc2 = nn.Linear(16, classes)

        def forward(self, images):
            memory, out, potentials = self.lif1.init_leaky(), 0.0, []
            for _ in range(config.timesteps):
                spikes, memory = self.lif1(self.fc1(images.flatten(1)), memory)
                out = out + self.fc2(spikes)
                potentials.append(out)
            return torch.stack(potentials)

    return Network()


class Frames(nn.Module):
    """A network for event frames, step by step."""

    def __init__(self, config, inputs, classes):
        super().__init__()
        self.first, self.second = nn.Linear(inputs, 12), nn.Linear(12, classes)
        self.threshold = config.firing_threshold

    def forward(self, frames):
        v, out, potentials = 0.0, 0.0, []
        for frame in frames.unbind(1):
            v = v + self.first(frame.flatten(1))
            spikes = _Spike.apply(v - self.threshold)
            v = v * (1 - spikes.detach())
            out = out + self.second(spikes)
            potentials.append(out)
        return torch.stack(potentials)


def frames(config, input_shape, classes):
    channels, height, width = input_shape
    return Frames(config, channels * height * width, classes)
