"""Measure how many frames a second a segmenter reads: torch against ONNX Runtime, CPU and GPU.

`make bench-inference` takes some minutes on two cores; `OPTIONS=--quick` less than one. The network
has random weights: speed does not depend on them. A run's own: `--run runs/stage3/deeplabv3plus`.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import figures
from bench.figures import Figures
from bench.frames import draw_frame
from bench.timing import Effort, Work, interleave, paired_ratios

from weakseg.artifacts import load_run
from weakseg.models import Segmenter, TiledInference
from weakseg.models.onnx import export_onnx, onnx_session
from weakseg.stages.segmenters import load_segmenter

Size = tuple[int, int]
SIZES: tuple[Size, ...] = ((512, 512), (1920, 1280))
"""Width and height."""

RATE = "frames a second"
RATIO = "times faster than torch"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", default="deeplabv3plus")
    parser.add_argument("--encoder", default="tu-tf_efficientnet_lite0")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="a finished stage-3 run")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; default every core")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="512 x 512 only, a repeat or two")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there")
    return parser.parse_args()


def whole_frame(network: Any, device: str, image: np.ndarray) -> Work:
    """One pass of torch over a whole frame, from an array in memory to one."""

    def work(scene: int) -> object:
        with torch.inference_mode():
            batch = torch.from_numpy(image).to(device)
            return network(batch).float().softmax(dim=1)[:, 1:].cpu().numpy()

    return work


def tiled(network: Any, frame: np.ndarray, **settings: Any) -> Work:
    """What `weakseg.predict` does of a frame."""
    inference = TiledInference(image_size=512, **settings)
    return lambda scene: inference(network, frame)


def contenders(
    network: Any, graph: Path, size: Size, threads: int, make_frame: Callable[..., np.ndarray]
) -> dict[str, Work]:
    frame = make_frame(size)
    image = np.ascontiguousarray(frame.transpose(2, 0, 1))[None].astype(np.float32) / 255
    session = onnx_session(graph, threads=threads)
    works: dict[str, Work] = {
        "torch": whole_frame(network, "cpu", image),
        "ONNX Runtime": lambda scene: session(image),
    }
    if max(size) > 512:
        works["predict: tiles of 512, overlap 0.5, mirrored too"] = tiled(network, frame)
        works["predict: tiles of 512, overlap 0.25"] = tiled(
            network, frame, overlap=0.25, flip=False
        )
    return works


def gpu_contenders(
    network: Any, size: Size, make_frame: Callable[..., np.ndarray]
) -> dict[str, Work]:
    frame = make_frame(size)
    image = np.ascontiguousarray(frame.transpose(2, 0, 1))[None].astype(np.float32) / 255
    works = {"torch": whole_frame(network, "cuda", image)}
    if max(size) > 512:
        works["predict: tiles of 512, overlap 0.5, mirrored too"] = tiled(network, frame)
    return works


def measure(
    works: dict[str, Work], size: Size, device: str, effort: Effort, kept: Figures
) -> list[list[str]]:
    """Time works by turns; keep their rates, and the ratios of the same repeats."""
    times, rows = interleave(works, effort), []
    place = {"width": size[0], "height": size[1], "device": device}
    for name, found in times.items():
        kept.add(name, RATE, [1 / seconds for seconds in found.wall], **place)
        kept.add(name, RATIO, paired_ratios(times["torch"].wall, found.wall), **place)
        rate = kept.find(name, RATE, **place)
        assert rate is not None
        spread = f"{min(rate.runs):.2f}-{max(rate.runs):.2f}"
        ratio = kept.show(name, RATIO, "{:.2f}", **place)
        case = f"{device}, {size[0]} x {size[1]}, {name}"
        rows.append([case, f"{rate.median:.2f}", spread, ratio])
    return rows


def load_network(options: argparse.Namespace) -> Any:
    if options.run is not None:
        return load_segmenter(load_run(options.run, kind="stage3"))[0]
    torch.manual_seed(0)
    network = Segmenter(options.architecture, encoder=options.encoder, encoder_weights=None)
    return network.to(memory_format=torch.channels_last).eval()


def main() -> None:
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    machine, kept = figures.describe_machine(), Figures()
    effort = Effort(repeats=2 if options.quick else options.repeats, seconds=60, calls_for=0)
    load = machine["load_at_start"][0]
    print(f"{machine['processor']}, {machine['cores']} cores, load {load}", flush=True)
    network, rows = load_network(options), []
    make_frame = functools.cache(lambda size: draw_frame(0, size[::-1]))
    sizes = SIZES[:1] if options.quick else SIZES
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "network.onnx"
        export_onnx(network, graph, metadata={})
        for size in sizes:
            works = contenders(network, graph, size, options.threads, make_frame)
            rows += measure(works, size, "CPU", effort, kept)
    if torch.cuda.is_available():
        network.to("cuda")
        for size in sizes:
            works = gpu_contenders(network, size, make_frame)
            rows += measure(works, size, "GPU", effort, kept)
    title = "Frames a second by wall time, median and range, and how many times faster than torch"
    print(figures.table(title, ["case", "frames/s", "range", "x torch"], rows))
    if options.json is not None:
        content = {
            "machine": machine,
            "versions": figures.list_versions(),
            "network": str(options.run or f"{options.architecture} on {options.encoder}"),
        }
        figures.write_json(options.json, content, kept)
        print(f"figures in {options.json}")


if __name__ == "__main__":
    main()
