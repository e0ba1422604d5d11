"""Choose the frames whose masks a budget of labelling would pay for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from weakseg.checks import check_in_unit, check_positive
from weakseg.data.frames import Frame


def labelled_first(frames: Sequence[Frame], *, fraction: float, seed: int) -> list[Frame]:
    """Draw about `fraction` of the frames, in whole sequences, every scene by its share.

    The frames of a sequence are near copies, so single ones drawn from all sequences would teach
    nearly as much as all of them, at a cost that nobody saves: sequences are drawn, and of those
    every frame. A scene's sequences are laid end to end in a random order, and each gets a random
    place within its own stretch of the scene. All sequences are then taken in the order of their
    places, until the count of frames is nearest to what is wanted: systematic sampling, stratified
    by scene. For one seed a smaller fraction lies within a larger one.

    Args:
        frames: To draw from; a frame without a sequence belongs to that of its scene's others.
        fraction: Share of the frames to draw, in (0, 1]; at least one sequence is drawn.
        seed: Names the draw, at least 0. The order of the frames does not matter.

    Returns:
        The drawn frames in the order they came in. As sequences are whole, their share is near
        `fraction` and rarely equal to it.

    References:
        Madow and Madow, "On the Theory of Systematic Sampling, I", Ann. Math. Statist. 1944. We
        draw a place for every sequence, not one for the whole scene, so that shares can be nested.
    """
    check_in_unit(fraction=fraction)
    check_positive(fraction=fraction)
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for frame in frames:
        sizes[frame.scene][frame.sequence] += 1
    rng = np.random.default_rng(seed)
    places: list[tuple[float, str, str]] = []
    for scene, by_sequence in sorted(sizes.items()):
        names = sorted(by_sequence)
        total, before = sum(by_sequence.values()), 0
        for name in (names[i] for i in rng.permutation(len(names))):
            inside = by_sequence[name] * float(rng.random())
            places.append(((before + inside) / total, scene, name))
            before += by_sequence[name]
    order = [(scene, name) for _, scene, name in sorted(places)]
    if not order:
        return []
    counts = np.cumsum([sizes[scene][name] for scene, name in order])
    taken = int(np.abs(counts - fraction * counts[-1]).argmin()) + 1
    drawn = set(order[:taken])
    return [frame for frame in frames if (frame.scene, frame.sequence) in drawn]
