"""Turns one batch of scene requests into pictures a second, by diffusers' samplers on our network and by every way to draw with weights.

    python -m benchmarks.generator_speed [--rounds 5] [--rows 16] [--threads 2] [--device cpu]

All paint the same requests of the sample: users, concepts, products, seeds. Whole pictures, from request to pixels with the product on top. Rounds are interleaved: in each, every contender
paints once, in turn, so that what else the machine does hits all alike. The table has medians of the rounds, by the
clock and by the processor's time (of all threads), which another program does not lengthen as much.

First the peers are checked: DDIM through the wrapper must equal Euler on our grid, and one step of it our own sampler's
one step, to rounding. What limits is told as the share of a matrix multiplication's speed, measured beside it, that the
network's own operations reach, and by the kinds of operation its time goes to. --device cuda does the same there;
that path was not run on the machine whose figures are in docs/generator-quality.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flow_solvers import ddim, euler
from benchmarks.generator_ways import Way, ways
from benchmarks.picture_world import World
from flows.job import SHIPPED
from generators.painting.network import Condition, SceneNetwork
from generators.painting.painters import Painter, SceneRequest
from generators.painting.sampling import Guidance, draw, noise_of
from generators.painting.sketches import CHANNELS

RESULTS = Path(__file__).parent / "results" / "generator_speed.json"
_PLAIN = Guidance()
SIDE_OF_PRODUCT = 1024
"""Of the square matrices whose multiplication is the ceiling."""


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], object], device: str) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    synchronise(device)
    clock, processor = time.perf_counter(), time.process_time()
    work()
    synchronise(device)
    return time.perf_counter() - clock, time.process_time() - processor


def check_peers(network: SceneNetwork, rows: int, device: str) -> dict[str, float]:
    """Root mean square differences of latents: what is the same by theory, and how far ours is from the exact flow."""
    generator = torch.Generator().manual_seed(3)
    condition = Condition(torch.randn(rows, 6, generator=generator), None).to(device)
    ground = torch.zeros(rows, network.latent + 1 + CHANNELS, network.side, network.side, device=device)
    noise = noise_of(torch.arange(rows), network.latent, network.side).to(device)

    def by(sampler: Callable[..., torch.Tensor], steps: int, guidance: Guidance = _PLAIN) -> torch.Tensor:
        with torch.inference_mode():
            return sampler(network, condition, ground, noise, steps=steps, guidance=guidance)

    def apart(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one - other).square().mean().sqrt())

    exact = by(euler, 400)
    told = {
        "DDIM, 50 steps, and Euler": apart(by(ddim, 50), by(euler, 50)),
        "DDIM, 10 steps, and Euler, guidance 2": apart(by(ddim, 10, Guidance(2.0)), by(euler, 10, Guidance(2.0))),
        "one step of DDIM and of ours": apart(by(ddim, 1), by(draw, 1)),
        "ours, 10 steps, and the exact flow": apart(by(draw, 10), exact),
        "DDIM, 10 steps, and the exact flow": apart(by(ddim, 10), exact),
        "DDIM, 50 steps, and the exact flow": apart(by(ddim, 50), exact),
    }
    for name in list(told)[:3]:
        assert told[name] < 1e-3, f"{name} differ by {told[name]}"
    return told


def ceiling(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a large matrix multiplication: the best of ten."""
    a = torch.randn(SIDE_OF_PRODUCT, SIDE_OF_PRODUCT, dtype=dtype, device=device)
    best = min(timed(lambda: a @ a, device)[0] for _ in range(10))
    return 2 * SIDE_OF_PRODUCT**3 / best


def limits(network: SceneNetwork, rows: int, device: str) -> dict[str, Any]:
    """One evaluation of the network: its operations, their speed beside the ceiling's, and what the time goes to."""
    state = torch.randn(rows, network.latent, network.side, network.side, device=device)
    ground = torch.zeros(rows, network.latent + 1 + CHANNELS, network.side, network.side, device=device)
    condition = Condition(torch.zeros(rows, 6), None).to(device)

    def evaluate(mode: Callable[[], Any] = torch.inference_mode) -> None:
        with mode():
            network(state, torch.full((rows,), 0.5, device=device), ground, condition)

    with FlopCounterMode(display=False) as counted:
        evaluate(torch.enable_grad)  # its hooks ask for gradients
    evaluate()
    seconds = float(np.median([timed(evaluate, device)[0] for _ in range(10)]))
    most = ceiling(device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        evaluate()
    kinds: dict[str, float] = {}
    for event in profile.key_averages():
        kind = next((kind for kind, words in _KINDS.items() if any(word in event.key for word in words)), "the rest")
        kinds[kind] = kinds.get(kind, 0.0) + event.self_cpu_time_total
    whole = sum(kinds.values())
    return {
        "operations": counted.get_total_flops() / rows, "seconds": seconds / rows, "rate": counted.get_total_flops() / seconds,
        "ceiling": most, "share": counted.get_total_flops() / seconds / most,
        "time": {kind: value / whole for kind, value in sorted(kinds.items(), key=lambda one: -one[1])},
    }  # fmt: skip


_KINDS = {
    "convolutions": ("conv",), "matrix multiplications": ("addmm", "aten::mm", "bmm", "linear"), "norms": ("norm",),
    "attention": ("attention",), "copies": ("copy", "cat", "clone"), "pointwise": ("silu", "mul", "add", "div", "sub"),
}  # fmt: skip


def requests_of(world: World, rows: int) -> list[SceneRequest]:
    users = world.vectors(world.events)
    return [row[0].scene() for row in world.orders(users, "speed", 1)[:rows]]


def race(contenders: dict[str, Painter], requests: list[SceneRequest], rounds: int, device: str) -> dict[str, Any]:
    """Medians over interleaved rounds, in pictures a second, and seconds of the processor a picture."""
    for painter in contenders.values():
        painter.paint(requests)
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders) if number % 2 == 0 else list(contenders)[::-1]:
            seen[name].append(timed(lambda name=name: contenders[name].paint(requests), device))
    told = {}
    for name, pairs in seen.items():
        clock, processor = np.array(pairs).T / len(requests)
        told[name] = {"per_second": float(1 / np.median(clock)), "clock": float(np.median(clock)),
                      "processor": float(np.median(processor)), "least_processor": float(processor.min())}  # fmt: skip
    return told


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    world = World.open(SHIPPED, max(given.rows, 48), 7)
    known: list[Way] = ways(device=given.device)
    network = next(way for way in known if way.name == "diffusion").painter(None).generator.network
    peers = check_peers(network, 4, given.device)
    for name, value in peers.items():
        print(f"{name:40} differ by {value:.2g}")
    found = race({way.name: way.painter(world.taste) for way in known}, requests_of(world, given.rows), given.rounds, given.device)  # fmt: skip
    base = found["ddim-50"]
    print(
        "\n| way | steps | pictures a second | processor seconds a picture | times DDIM-50, clock | processor |\n|---|---|---|---|---|---|"
    )
    for way in known:
        row = found[way.name]
        row |= {"steps": way.steps, "times": base["clock"] / row["clock"], "times_processor": base["processor"] / row["processor"]}  # fmt: skip
        print(
            f"| {way.name} | {way.steps} | {row['per_second']:.2f} | {row['processor']:.3f} | {row['times']:.1f} | {row['times_processor']:.1f} |"
        )
    limit = limits(network, given.rows, given.device)
    print(f"\none evaluation for one picture: {limit['operations'] / 1e9:.2f} G operations, {limit['seconds'] * 1e3:.1f} ms, {limit['rate'] / 1e9:.0f} G a "
          f"second: {limit['share']:.0%} of a matrix multiplication's {limit['ceiling'] / 1e9:.0f} G")  # fmt: skip
    print("its time: " + ", ".join(f"{kind} {share:.0%}" for kind, share in limit["time"].items()))
    RESULTS.parent.mkdir(exist_ok=True)
    told = {"ways": found, "peers": peers, "limits": limit, "threads": given.threads, "rows": given.rows, "device": given.device,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "load": os.getloadavg()[0]}  # fmt: skip
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
