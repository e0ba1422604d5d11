"""Say what may go through a training beside its network."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn


class Companion(Protocol):
    """What learns or remembers beside the network; it is saved and restored with it.

    What it does at a step may depend on its state and on the step's number alone, so that a
    training that was interrupted goes on exactly.
    """

    def attach(self, model: nn.Module) -> None:
        """Meet the network, on its device and with its starting weights."""
        ...

    def begin_step(self, step: int, steps: int) -> None:
        """Hear that step number `step` of `steps`, counted from 0, is about to be taken."""
        ...

    def end_step(self, model: nn.Module) -> None:
        """Hear that it was taken, and see the weights it led to."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Give all that must not be forgotten: tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        ...
