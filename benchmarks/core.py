"""Measure the native core: speed against pydensecrf, memory, threads, exactness.

`make bench-core` runs it all, in less than eight minutes on one core; `--quick` takes less than one
and says less. On other frames: `python benchmarks/core.py --photos FOLDER --json core.json`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from bench import contenders, figures, sections, targets
from bench.frames import Frames
from bench.session import Bench, Size
from bench.timing import Effort

SIZES = ("128x128", "256x256", "512x512", "1024x768", "1920x1280")


def parse_size(text: str) -> Size:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"a size is WIDTHxHEIGHT, as 512x512, not {text}")
    return int(width), int(height)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=parse_size, metavar="WxH", help="frame sizes")
    parser.add_argument("--channels", nargs="+", type=int, default=[2, 5, 21], metavar="C")
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help="default 1 2")
    parser.add_argument("--repeats", type=int, help="most repeats of every figure, default 9")
    parser.add_argument("--quick", action="store_true", help="few sizes and repeats")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="frames; drawn ones without")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there")
    parser.add_argument(
        "--instructions", nargs="+", metavar="SET", help="instruction sets, default all there are"
    )
    return parser.parse_args()


def make_bench(options: argparse.Namespace) -> Bench:
    offered = contenders.instruction_sets()
    chosen: list[str] = options.instructions or offered
    if unknown := sorted(set(chosen) - set(offered)):
        raise SystemExit(
            f"this machine has no {', '.join(unknown)}: choose of {', '.join(offered)}"
        )
    quick: bool = options.quick
    return Bench(
        sizes=options.sizes or [parse_size(s) for s in (SIZES[:3:2] if quick else SIZES)],
        channels=options.channels,
        threads=options.threads or ([1] if quick else [1, 2]),
        instructions=chosen,
        effort=Effort(repeats=options.repeats or (3 if quick else 9), seconds=1 if quick else 14),
        frames=Frames(options.photos),
        quick=quick,
    )


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)
    bench = make_bench(options)
    contenders.use_instructions(bench.instructions[0])
    machine, versions = figures.describe_machine(), figures.list_versions()
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load_at_start'][0]};")
    print("; ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{bench.frames.origin}; instructions: {', '.join(bench.instructions)}\n", flush=True)
    start = time.perf_counter()
    for section in (
        sections.exactness,
        sections.speed,
        sections.instructions,
        sections.two_threads,
        sections.scaling,
        sections.loss_step,
        sections.memory_use,
    ):
        print(section(bench), flush=True)
    judged = targets.judge(bench.figures, best=bench.instructions[0])
    print(targets.show(judged))
    print(f"{time.perf_counter() - start:.0f} seconds")
    if options.json is not None:
        content = {
            "machine": machine,
            "versions": versions,
            "settings": {
                "frames": bench.frames.origin,
                "quick": bench.quick,
                "most_repeats": bench.effort.repeats,
                "instructions": bench.instructions,
                "loss_filter": {
                    "sigma_rgb_levels": contenders.LOSS_SIGMA_RGB_LEVELS,
                    "sigma_xy_pixels": contenders.LOSS_SIGMA_XY_PIXELS,
                },
                "mean_field": {
                    "bilateral": contenders.BILATERAL,
                    "gaussian": contenders.GAUSSIAN,
                    "iterations": contenders.ITERATIONS,
                },
            },
            "targets": [target.as_dict() for target in judged],
        }
        figures.write_json(options.json, content, bench.figures)
        print(f"figures in {options.json}")


if __name__ == "__main__":
    main()
