"""The parts of the benchmark: each measures one thing, keeps its figures, and returns a table."""

from __future__ import annotations

import hashlib
import threading

import numpy as np

from bench import accuracy, contenders, memory
from bench.contenders import ITERATIONS
from bench.figures import table
from bench.frames import Frames
from bench.session import CPU_COST, RIVAL, WALL_COST, Bench, Place, Size, Works
from bench.targets import CAPACITY, CPU_RATIO, GAP, LARGE, SIDE, WALL_SPEEDUP
from bench.timing import Work, interleave, paired_ratios


def speed(bench: Bench) -> str:
    """Time the loss filter and five mean-field iterations at every size and channel count."""
    for size in bench.sizes:
        for channels in bench.channels:
            scenes = bench.scenes(size, channels)
            works: Works = {}
            for threads in bench.threads:
                where: Place = {"channels": channels, "threads": threads, "iterations": ITERATIONS}
                filtered = contenders.loss_filter(scenes, threads=threads)
                refined = contenders.mean_field(scenes, threads=threads)
                works[f"loss filter {threads}"] = ("loss filter", filtered, where)
                works[f"mean field {threads}"] = ("mean field", refined, where)
            once: Place = {"channels": channels, "iterations": ITERATIONS}
            if (script := contenders.drop_in(scenes)) is not None:
                works["drop-in"] = ("weakseg.densecrf", script, once)
            if contenders.has_pydensecrf():
                works[RIVAL] = (RIVAL, contenders.pydensecrf(scenes), {**once, "threads": 1})
            bench.time(works, size)
    return _speed_table(bench)


def _speed_table(bench: Bench) -> str:
    show, rows = bench.figures.show, []
    for size in bench.sizes:
        for channels in bench.channels:
            for threads in bench.threads:
                place: Place = {"width": size[0], "height": size[1], "channels": channels}
                at: Place = {**place, "threads": threads}
                quantity = CPU_COST if threads == 1 else WALL_COST
                ratio = CPU_RATIO if threads == 1 else "times faster than pydensecrf (wall)"
                rows.append(
                    [
                        f"{size[0]} x {size[1]}, C = {channels}, {_threads(threads)}",
                        show("loss filter", quantity, **at),
                        show("loss filter", ratio, **at),
                        show("mean field", quantity, **at),
                        show("mean field", ratio, **at),
                        show("weakseg.densecrf", ratio, **place),
                        show(RIVAL, quantity, "{:.0f}", **place),
                    ]
                )
    head = ["frame", "loss filter", "x", "mean field", "x", "weakseg.densecrf x", RIVAL]
    title = (
        f"Nanoseconds a pixel (CPU time on one thread, wall time on more), and how many times "
        f"faster (x) than {RIVAL}'s {ITERATIONS} mean-field iterations"
    )
    return table(title, head, rows)


def _threads(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def scaling(bench: Bench) -> str:
    """Time more channels and more iterations at one size."""
    size = (SIDE, SIDE) if not bench.quick else (256, 256)
    show, rows = bench.figures.show, []
    for channels in (1, 3, 8) if bench.quick else (1, 2, 3, 4, 8, 16, 32):
        scenes = bench.scenes(size, channels)
        place: Place = {"channels": channels, "threads": 1, "study": "scaling in C"}
        works: Works = {"filter": ("loss filter", contenders.loss_filter(scenes), place)}
        if channels > 1:
            works["crf"] = ("mean field", contenders.mean_field(scenes), place)
        bench.time(works, size)
        cells = [show(what, CPU_COST, **place) for what in ("loss filter", "mean field")]
        rows.append([f"C = {channels}, {ITERATIONS} iterations", *cells, "-"])
    scenes = bench.scenes(size, 2)
    for iterations in (1, 10) if bench.quick else (1, 5, 10, 20):
        place = {"channels": 2, "iterations": iterations, "study": "scaling in iterations"}
        works = {"crf": ("mean field", contenders.mean_field(scenes, iterations=iterations), place)}
        if contenders.has_pydensecrf():
            rival = contenders.pydensecrf(scenes, iterations=iterations)
            works[RIVAL] = (RIVAL, rival, place)
        bench.time(works, size)
        cells = [show("mean field", CPU_COST, **place), show(RIVAL, CPU_COST, **place)]
        rows.append([f"C = 2, {iterations} iterations", "-", *cells])
    title = f"Scaling at {size[0]} x {size[1]}, CPU nanoseconds a pixel on one thread"
    return table(title, ["case", "loss filter", "mean field", RIVAL], rows)


def loss_step(bench: Bench) -> str:
    """Time the whole loss in torch, value and gradient."""
    rows = []
    for channels in bench.channels:
        scenes = bench.scenes((SIDE, SIDE), channels)
        place: Place = {"channels": channels, "threads": 1}
        work = contenders.loss_and_gradient(scenes)
        bench.time({"loss": ("dense_crf_loss and gradient", work, place)}, (SIDE, SIDE))
        cost = bench.figures.show("dense_crf_loss and gradient", WALL_COST, **place)
        rows.append([f"C = {channels}", cost])
    title = f"dense_crf_loss with its gradient, {SIDE} x {SIDE}, wall nanoseconds a pixel"
    return table(title, ["case", "ns/pixel"], rows)


def instructions(bench: Bench) -> str:
    """Time every instruction set by turns, and compare what they compute."""
    size, names = (SIDE, SIDE), bench.instructions
    if len(names) == 1:
        return f"Instruction sets: {names[0]} alone\n"
    rows = []
    for channels in bench.channels:
        scenes = bench.scenes(size, channels)
        works: Works = {}
        for name in names:
            place: Place = {"channels": channels, "instructions": name, "study": "instructions"}
            filtered, refined = contenders.loss_filter(scenes), contenders.mean_field(scenes)
            works[f"filter {name}"] = ("loss filter", _using(name, filtered), place)
            works[f"crf {name}"] = ("mean field", _using(name, refined), place)
        if contenders.has_pydensecrf():
            place = {"channels": channels, "study": "instructions"}
            works[RIVAL] = (RIVAL, contenders.pydensecrf(scenes), place)
        bench.time(works, size)
        for what, make in (
            ("loss filter", contenders.loss_filter),
            ("mean field", contenders.mean_field),
        ):
            best = _cost(bench, what, channels, names[0])
            contenders.use_instructions(names[0])
            reference = np.asarray(make(scenes)(0))
            for name in names:
                cost = _cost(bench, what, channels, name)
                shares = paired_ratios(best, cost)
                place = {"channels": channels, "instructions": name}
                bench.figures.add(what, f"speed as a share of {names[0]}'s", shares, **place)
                contenders.use_instructions(name)
                gap = np.abs(np.asarray(make(scenes)(0)) - reference).max() / reference.max()
                bench.figures.add(what, GAP, [float(gap)], **place)
                show = bench.figures.show
                at: Place = {**place, "study": "instructions"}
                rows.append(
                    [
                        f"{what}, C = {channels}, {name}",
                        show(what, CPU_COST, **at),
                        show(what, f"speed as a share of {names[0]}'s", "{:.2f}", **place),
                        show(what, CPU_RATIO, **at),
                        f"{gap:.1e}",
                    ]
                )
    contenders.use_instructions(names[0])
    head = ["case", "ns/pixel", f"share of {names[0]}'s speed", f"x {RIVAL}", "largest gap"]
    return table(f"Instruction sets at {size[0]} x {size[1]}, one thread, CPU time", head, rows)


def _using(name: str, work: Work) -> Work:
    def chosen(scene: int) -> object:
        contenders.use_instructions(name)
        return work(scene)

    return chosen


def _cost(bench: Bench, what: str, channels: int, name: str) -> list[float]:
    place: Place = {"channels": channels, "instructions": name, "study": "instructions"}
    found = bench.figures.find(what, CPU_COST, **place)
    assert found is not None
    return list(found.runs)


def two_threads(bench: Bench, size: Size = LARGE) -> str:
    """Time one large frame on one thread and on two, and what the machine gives to two."""
    scenes = bench.scenes(size, 2)
    pairs = {
        "loss filter": [contenders.loss_filter(scenes, threads=n) for n in (1, 2)],
        "mean field": [contenders.mean_field(scenes, threads=n) for n in (1, 2)],
        "hashing": [_hashing(1), _hashing(2)],
    }
    works = {f"{what} {n}": work for what, two in pairs.items() for n, work in enumerate(two, 1)}
    times = interleave(works, bench.effort)
    rows = []
    for what in pairs:
        ratios = paired_ratios(times[f"{what} 1"].wall, times[f"{what} 2"].wall)
        if what == "hashing":
            # Twice the work on two threads.
            bench.figures.add(what, CAPACITY, [2 * ratio for ratio in ratios])
            cell = bench.figures.show(what, CAPACITY, "{:.2f}")
        else:
            place: Place = {"width": size[0], "height": size[1], "channels": 2}
            bench.figures.add(what, WALL_SPEEDUP, ratios, **place)
            cell = bench.figures.show(what, WALL_SPEEDUP, "{:.2f}", **place)
        rows.append([what if what != "hashing" else "two threads that share nothing", cell])
    title = f"Speed-up by a second thread, {size[0]} x {size[1]}, C = 2, wall time"
    return table(title, ["case", "times"], rows)


def _hashing(threads: int) -> Work:
    """Hash the same amount on every thread: Python lets go of its lock while it does."""
    block = bytes(32_000_000)

    def work(scene: int) -> object:
        others = [
            threading.Thread(target=hashlib.sha256, args=(block,)) for _ in range(threads - 1)
        ]
        for other in others:
            other.start()
        hashlib.sha256(block)
        for other in others:
            other.join()
        return None

    return work


def memory_use(bench: Bench) -> str:
    """Measure what the lattice holds, what a call needs, and what 1,000 calls leave behind."""
    size = (SIDE, SIDE) if bench.quick else LARGE
    pixels = size[0] * size[1]
    scene, small = bench.scenes(size, 2)[0], bench.scenes((64, 64), 2)
    held = [memory.lattice_bytes(scene) for scene in bench.scenes((SIDE, SIDE), 2)]
    known = [bytes_held / SIDE**2 for bytes_held in held if bytes_held is not None]
    bench.figures.add("loss filter", "lattice B/pixel", known)
    works = {"loss filter": contenders.loss_filter(small)}
    if not bench.quick:
        works["mean field"] = contenders.mean_field(small)
    for what, work in works.items():
        growth = memory.growth_bytes(work, calls=1000)
        bench.figures.add(what, "growth B/call", [] if growth is None else [growth / 1000])
    rivals = [RIVAL] if contenders.has_pydensecrf() and not bench.quick else []
    rows = []
    for what in [*works, *rivals]:
        peak = memory.peak_bytes(what, scene, small[0])
        bench.figures.add(what, "peak B/pixel", [] if peak is None else [peak / pixels])
        quantities = ("lattice B/pixel", "peak B/pixel", "growth B/call")
        rows.append([what, *(bench.figures.show(what, quantity) for quantity in quantities)])
    head = [
        "case",
        f"lattice B/pixel, {SIDE} x {SIDE}",
        f"peak of a call B/pixel, {size[0]} x {size[1]}",
        "growth over 1,000 calls, B/call",
    ]
    return table("Memory, C = 2", head, rows)


def exactness(bench: Bench) -> str:
    """Compare every mode of the lattice with exact sums in float64."""
    side = 256 if bench.quick else SIDE
    samples = 300 if bench.quick else 1000
    # Of more frames than are timed: the error differs from one to the next.
    frames = Frames(bench.frames.folder, scenes=3 if bench.quick else 8)
    found = accuracy.measure(frames, side=side, samples=samples)
    for (mode, values, form), errors in found.items():
        bench.figures.add(mode, f"relative L2 error {form}", errors, values=values, side=side)
    rows = []
    for mode in accuracy.modes():
        cells = [
            bench.figures.show(mode, f"relative L2 error {form}", "{:.4f}", values=values)
            for values in ("soft", "one-hot")
            for form in ("raw", "by row")
        ]
        rows.append([mode, *cells])
    head = ["lattice", "soft, raw", "soft, by row", "one-hot, raw", "one-hot, by row"]
    reach = accuracy.SIGMA_XY_SHARE * side
    title = (
        f"Relative L2 error against exact sums (float64), median of {frames.scenes} frames of "
        f"{side} x {side} at {samples} pixels each; sigma_rgb {accuracy.SIGMA_RGB_LEVELS:g}, "
        f"sigma_xy {reach:g}, {accuracy.CHANNELS} classes; raw is at the best scale"
    )
    return table(title, head, rows)
