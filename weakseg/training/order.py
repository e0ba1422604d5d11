"""Cut a training into epochs of batches, by the data or by a number of steps."""

from __future__ import annotations

from typing import Protocol

from weakseg.training.settings import FitSettings

Keys = list[tuple[int, int]]


class BatchOrder(Protocol):
    """Say which frames make up the batches of an epoch, as a pure function of its number."""

    def batches(self, epoch: int) -> list[Keys]:
        """Return the (epoch, index) keys of every batch."""
        ...


def batches_of(sampler: BatchOrder, epoch: int, settings: FitSettings) -> list[Keys]:
    """List the batches of an epoch; under `max_steps`, of its part of all the steps.

    Args:
        sampler: Gives the batches of a pass over the data.
        epoch: Counted from 0.
        settings: Of the training.
    """
    if settings.max_steps is None:
        return sampler.batches(epoch)[: settings.max_steps_per_epoch]
    start, end = (settings.max_steps * place // settings.epochs for place in (epoch, epoch + 1))
    found: list[Keys] = []
    passed = pass_number = 0
    while passed < end:
        batches = sampler.batches(pass_number)
        if not batches:
            break  # Nothing to go through: the caller says so.
        found += batches[max(0, start - passed) : end - passed]
        passed += len(batches)
        pass_number += 1
    return found
