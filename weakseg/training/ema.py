"""Follow a network's weights by an exponential moving average."""

from __future__ import annotations

import copy

import torch
from torch import nn

from weakseg.checks import check_in_unit


class WeightAverage:
    """A second network whose weights trail behind the trained one.

    The average starts fast and slows down, so that short trainings profit too: after n updates
    the momentum is min(decay, (1 + n) / (10 + n)). Floating-point buffers, such as the running
    statistics of batch normalisation, are averaged like weights; integer ones are copied.

    Args:
        model: The trained network. It is copied, not changed.
        decay: The highest momentum, in [0, 1].
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """Copy the network."""
        check_in_unit(ema_decay=decay)
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average one step towards `model`."""
        momentum = min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = model.state_dict()
        for name, average in self.module.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[name], 1 - momentum)
            else:
                average.copy_(current[name])
