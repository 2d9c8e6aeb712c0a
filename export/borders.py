"""Where rounding decides what a `live` decoder plays, so that two right engines may part.

Its oscillators choose the loudest pitches of each frame, and round their bends to steps. Two levels that are alike but
for their last bits, or a bend that lies between two steps, fall one way in one engine and the other way in another. In
a trained model that is rare; in one of a few steps, whose pitches are all alike yet, it is met in every fifth probe.
"""

from __future__ import annotations

import numpy as np
import torch

from umtn.model.decoders.base import Decoder
from umtn.model.decoders.guided import GuidedDecoder
from umtn.model.decoders.harmonic import LiveDecoder

__all__ = ["CLOSE", "clear_frames"]

CLOSE = 1e-5  # of a level or of a step: engines' own differ by up to 2e-6 where they are fed the same latent
INAUDIBLE = 1e-6  # a voice of which all partials together stay below it may be any


@torch.no_grad()
def clear_frames(decoder: Decoder, latent_1DT: np.ndarray) -> int:
    """For how many frames, from a fresh state on, every right engine plays the same: all, or up to the first border."""
    guide = decoder.guide if isinstance(decoder, GuidedDecoder) else decoder
    frames = int(latent_1DT.shape[2])
    if not isinstance(guide, LiveDecoder):
        return frames
    latent = torch.from_numpy(latent_1DT)
    bank, state = guide.oscillators, guide.init_state(1)[: 1 + guide.hiss_states]
    amplitude_BPHT, semitones_BPT, _, _ = guide.controls(latent, state)
    amplitude_PHT = (amplitude_BPHT * bank.audible.unsqueeze(2))[0]
    level_PT = (amplitude_PHT * amplitude_PHT).sum(dim=1)
    heard_PT = amplitude_PHT.abs().sum(dim=1) > INAUDIBLE
    steps_PT = semitones_BPT[0] * bank.steps
    ordered = level_PT.sort(dim=0, descending=True)
    least_T = ordered.values[bank.voices - 1]
    between_PT = ((steps_PT - steps_PT.floor() - 0.5).abs() < CLOSE) & heard_PT & (level_PT >= least_T)
    disputed_T = between_PT.any(dim=0)
    if bank.voices < bank.pitches:
        alike_T = least_T - ordered.values[bank.voices] < CLOSE * least_T
        disputed_T |= alike_T & heard_PT.gather(0, ordered.indices[bank.voices - 1][None])[0]
    disputed = disputed_T.nonzero()
    return int(disputed[0]) if len(disputed) else frames
