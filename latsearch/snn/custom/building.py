"""From the function that a configuration names to a network."""

from __future__ import annotations

from torch import nn

from latsearch.config.code import code_allowed, find_function, place, reason, refused
from latsearch.config.trial import NetworkConfig
from latsearch.errors import UserError
from latsearch.snn.custom.network import CustomNetwork

_FIELD = "network.function"


def build_custom(
    config: NetworkConfig, input_shape: tuple[int, int, int], classes: int
) -> CustomNetwork:
    """The network that the user's function makes, with fresh weights.

    Args:
        config: the network's configuration, with `function` and `options`.
        input_shape: ``(C, H, W)`` of the images.
        classes: K.

    Raises:
        UserError: code is not allowed here, or the function fails or makes something else.
    """
    where = config.function
    if where is None:
        raise UserError("network.function is missing: the family custom needs one")
    if not code_allowed():
        raise UserError(refused(_FIELD, where))
    function = find_function(_FIELD, where)
    name = where.partition(":")[2]
    try:
        module = function(config, input_shape, classes)
    except Exception as error:  # the user's code may raise anything
        called = "" if place(error) else f"; it is called {name}(config, input_shape, classes)"
        raise UserError(f"{_FIELD} = {where} failed: {reason(error)}{called}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{where} returned {type(module).__name__}, expected a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError(f"{where} returned {type(module).__name__} without parameters to train")
    return CustomNetwork(module, config, input_shape, classes, where)
