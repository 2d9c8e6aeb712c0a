"""What a model costs: time on one thread, weights, multiplications."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from umtn.evaluation.graph_cost import graph_macs, graph_parameters
from umtn.evaluation.material import Material
from umtn.evaluation.players import BundlePlayer, CheckpointPlayer, Player

__all__ = ["cost", "size"]

TIMED_S = 4.0
COUNTED_FRAMES = 16


def cost(player: Player, target: str, material: Material) -> dict[str, float]:
    """`rtf` (encoder and one decoder, one thread), and `parameters` and `mac_per_s` where they can be counted."""
    audio = next(iter(material.sources.values()))[: round(TIMED_S * material.rate)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        player.play(audio[: material.rate // 10], (target,))  # the first call also makes plans and buffers
        began = time.perf_counter()
        player.play(audio, (target,))
        seconds = time.perf_counter() - began
    finally:
        torch.set_num_threads(threads)
    return {"rtf": round(seconds * material.rate / len(audio), 4), **size(player, target)}


def size(player: Player, target: str) -> dict[str, float]:
    """Parameters and multiply-accumulates per second of encoder and one decoder; empty for other players."""
    if isinstance(player, CheckpointPlayer):
        return _of_checkpoint(player, target)
    if isinstance(player, BundlePlayer):
        return _of_bundle(player, target)
    return {}


@torch.no_grad()
def _of_checkpoint(player: CheckpointPlayer, target: str) -> dict[str, float]:
    translator = player.translator
    n = COUNTED_FRAMES * translator.config.hop
    parts = (translator.encoder, translator.decoder(target))
    with FlopCounterMode(display=False) as counter:
        player.play(np.zeros(n, np.float32), (target,))
    macs = counter.get_total_flops() / 2 * translator.config.sample_rate / n
    return {
        "parameters": sum(p.numel() for part in parts for p in part.parameters()),
        "mac_per_s": round(macs),
    }


def _of_bundle(player: BundlePlayer, target: str) -> dict[str, float]:
    bundle = player.bundle
    manifest = bundle.manifest
    graphs = [bundle.read(p) for p in (manifest.encoder, bundle.domain(target).graph)]
    macs = [graph_macs(g) for g in graphs]
    found: dict[str, float] = {"parameters": sum(graph_parameters(g) for g in graphs)}
    if all(m is not None for m in macs):
        blocks_per_s = manifest.sample_rate / manifest.block
        found["mac_per_s"] = round(sum(m for m in macs if m is not None) * blocks_per_s)
    return found
