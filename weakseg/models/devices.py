"""Find the device a network runs on by the word of a configuration."""

from __future__ import annotations

import torch


def find_device(name: str) -> torch.device:
    """Return the device of that name; "auto" takes a GPU when there is one.

    Args:
        name: "auto", "cpu", "gpu" (the first one), or as torch names it ("cuda", "cuda:1").

    Raises:
        ValueError: If torch does not know the name, or sees no such GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device("cuda" if name == "gpu" else name)
    except RuntimeError as error:
        known = "auto, cpu, gpu or a name of torch's"
        raise ValueError(f"device must be {known}, got {name!r}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={name}, but torch sees {torch.cuda.device_count()} GPUs: take auto or cpu"
        )
    return device
