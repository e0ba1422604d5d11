"""Find the device a network runs on by the word of a configuration."""

from __future__ import annotations

import torch


def find_device(name: str) -> torch.device:
    """Return the device of that name; "auto" takes a GPU when there is one.

    Args:
        name: "auto", "cpu", or another as torch names it ("cuda", "cuda:1").

    Raises:
        ValueError: If torch does not know the name, or sees no such GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu or a name of torch's, got {name!r}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={name}, but torch sees {torch.cuda.device_count()} GPUs: take auto"
        )
    return device
