"""Write a segmenter as an ONNX graph that gives what it gives, at any size, in one file."""

from __future__ import annotations

import importlib
import logging
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.artifacts.atomic import atomic_path
from weakseg.checks import check_at_least, check_positive
from weakseg.errors import ArtifactError, MissingExtraError
from weakseg.labels import SMOKE

log = logging.getLogger(__name__)

INPUT: Final = "images"
OUTPUT: Final = "smoke_probability"
OPSET: Final = 17
SIZES: Final = ((1, 64, 64), (2, 96, 160), (1, 100, 77), (3, 33, 47), (1, 321, 256))
"""Batch, height and width at which a graph is compared; 32 divides some and not others."""
TOLERANCE: Final = 1e-4
_SIZE_UNIT: Final = 32


class SmokeProbability(nn.Module):
    """What is exported: pictures in, the probability of smoke out.

    Padding and cropping are done here by sizes that are part of the graph: a segmenter does them
    itself, but by numbers, which a graph would take for constants.

    Args:
        segmenter: (B, 3, H, W) in [0, 1] -> (B, K, H, W) logits; normalises by itself.
    """

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor) -> Tensor:
        """Give (B, 1, H, W) float32 in [0, 1] for (B, 3, H, W) float32 in [0, 1]."""
        height, width = images.shape[-2:]
        padding = (0, -width % _SIZE_UNIT, 0, -height % _SIZE_UNIT)
        logits = self.segmenter(F.pad(images, padding, mode="replicate"))
        smoke = logits.float().softmax(dim=1)[:, SMOKE : SMOKE + 1]
        return cast(Tensor, smoke[..., :height, :width])


def export_onnx(
    segmenter: nn.Module,
    path: Path | str,
    *,
    metadata: Mapping[str, str],
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    tolerance: float = TOLERANCE,
) -> float:
    """Write `segmenter` to `path` and compare what ONNX Runtime makes of it with torch.

    The graph takes `images`, (B, 3, H, W) float32 RGB in [0, 1] of any batch and size from 32 on,
    and gives `smoke_probability`, (B, 1, H, W) float32. The file appears only if it agrees.

    Args:
        segmenter: On the CPU, in eval mode.
        path: Ends in `.onnx`.
        metadata: Kept in the file, under the names given.
        sizes: (B, H, W) to compare at.
        tolerance: Largest difference of a probability that is accepted, > 0.

    Returns:
        The largest difference found.

    Raises:
        ArtifactError: If the network cannot be exported, or the graph disagrees with it.
        MissingExtraError: If onnx or onnxruntime are not installed.
    """
    check_at_least(1, sizes=len(sizes))
    check_positive(tolerance=tolerance)
    onnx = _module("onnx")
    _module("onnxruntime")
    network = SmokeProbability(segmenter).eval()
    with atomic_path(path) as temporary:
        _trace(network, temporary, path)
        graph = onnx.load(str(temporary))
        for name, value in metadata.items():
            entry = graph.metadata_props.add()
            entry.key, entry.value = name, value
        onnx.save(graph, str(temporary))
        worst = 0.0
        run = onnx_session(temporary)
        for size in sizes:
            gap = _gap(network, run, size, path)
            log.debug("%s: largest difference %.1e at %s", path, gap, size)
            worst = max(worst, gap)
            if not gap <= tolerance:
                raise ArtifactError(
                    f"{path} was not written: at {size[0]} x 3 x {size[1]} x {size[2]} ONNX "
                    f"Runtime differs from torch by {gap:.2g}, above {tolerance:g}: this network's "
                    "graph depends on the size; choose another segmenter, such as deeplabv3plus"
                )
    return worst


class OnnxSession:
    """An ONNX graph of `export_onnx` that ONNX Runtime runs.

    Args:
        path: The file.
        threads: CPU threads; 0 takes every core.
        gpu: Whether to run on a GPU, by onnxruntime-gpu.
    """

    def __init__(self, path: Path | str, *, threads: int = 0, gpu: bool = False) -> None:
        runtime = _module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        # Its own errors come as exceptions; what it prints besides is for its developers.
        options.log_severity_level = 4
        providers = [*(["CUDAExecutionProvider"] if gpu else []), "CPUExecutionProvider"]
        self._session = runtime.InferenceSession(str(path), options, providers=providers)

    def __call__(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Give (B, 1, H, W) float32 for (B, 3, H, W) float32 in [0, 1]."""
        found: npt.NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: images})[0]
        return found

    def metadata(self) -> dict[str, str]:
        """What the file says about itself."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


def onnx_session(path: Path | str, *, threads: int = 0, gpu: bool = False) -> OnnxSession:
    """Open an ONNX file.

    Raises:
        ArtifactError: If it is missing or no ONNX file.
        MissingExtraError: If onnxruntime is not installed.
    """
    try:
        return OnnxSession(path, threads=threads, gpu=gpu)
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime"):
            raise ArtifactError(f"{path} is no readable ONNX file: export it again") from error
        raise


def _trace(network: SmokeProbability, temporary: Path, path: Path | str) -> None:
    """Record the graph by running the network once; sizes stay open."""
    example = torch.rand(2, 3, 2 * _SIZE_UNIT, 3 * _SIZE_UNIT)
    names = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings():
        # Of the checks of shapes, which a graph does not have, and of the exporter's age: the
        # newer one keeps no open sizes for the padding of these networks.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                (example,),
                str(temporary),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: names, OUTPUT: names},
                opset_version=OPSET,
                dynamo=False,
            )
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            name = type(network.segmenter).__name__
            reason = textwrap.shorten(str(error), 200, placeholder=" ...")
            raise ArtifactError(
                f"{path} was not written: {name} has no ONNX graph ({reason}): choose another "
                "segmenter, such as deeplabv3plus"
            ) from error


def _gap(
    network: SmokeProbability, run: OnnxSession, size: tuple[int, int, int], path: Path | str
) -> float:
    """Give the largest difference between torch and the graph on seeded pictures."""
    batch, height, width = size
    noise = torch.rand((batch, 3, height, width), generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, width).expand(batch, 3, height, width)
    images = torch.lerp(noise, ramp, 0.7)
    with torch.inference_mode():
        wanted = network.segmenter(images).float().softmax(dim=1)[:, SMOKE : SMOKE + 1].numpy()
    try:
        found = run(images.numpy())
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ArtifactError(
            f"{path} was not written: ONNX Runtime cannot run its graph at {batch} x 3 x {height} "
            f"x {width}: choose another segmenter, such as deeplabv3plus"
        ) from error
    if found.shape != wanted.shape:
        return float("inf")
    gap = float(np.abs(found - wanted).max())
    return gap if np.isfinite(gap) else float("inf")


def _module(name: str) -> Any:
    """Import a module of the extra `onnx`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError("export needs `pip install weakseg[onnx]`") from error
