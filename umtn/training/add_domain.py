"""A domain of one's own, top to bottom: read, listen, learn, compare, add.

The encoder is the bundle's own ONNX graph, so that the decoder learns from exactly what it will hear on stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from umtn.data.prepare import SUFFIXES, read_audio, split_files
from umtn.errors import UserError
from umtn.evaluation import signal_metrics
from umtn.model import checkpoint
from umtn.model.config import Config
from umtn.model.decoders.harmonic import LiveDecoder, live_of
from umtn.model.presets import preset
from umtn.model.translator import build_decoder
from umtn.offline import BundlePlayer
from umtn.training.band_extension import scaled
from umtn.training.single_decoder import LAG_FRAMES, Heard, learn, listed, nearest

if TYPE_CHECKING:
    from export.bundle.bundle import Manifest

__all__ = ["add_domain"]

Floats = NDArray[np.float32]
LEVEL_DBFS, PIECE_S = -23.0, 12.0  # recordings are levelled as the other domains' were, and cut into pieces
GAINS_DB = (-18.0, 4.0)  # each piece is heard at another level, so that the decoder follows dynamics
LEAST_S, VALID_SHARE, MOST_HELD_OUT, JUDGED_S = 20.0, 0.1, 0.25, 60.0


def add_domain(
    name: str, recordings: Path, to: Path, output: Path | None, minutes: float, start: Path | None, seed: int
) -> str:
    """Train, compare, write; -> a table of how the held-out recordings come back through every domain."""
    from export.bundle.bundle import Bundle, write_bundle
    from export.freeze import check_new_domain, extended

    try:
        bundle = Bundle.open(to)
        check_new_domain(bundle, name)
        player = BundlePlayer(to)
        config = _config(bundle.manifest)
        train, valid = _read(recordings, config.sample_rate, seed)
        heard = list(tqdm(_listen(player, train, config.sample_rate, seed), "listening"))
        decoder = _first_guess(config, name, _checkpoint(start, bundle.path), heard)
        steps = _learn(decoder, heard, config.sample_rate, minutes, seed)
        note = f"Domain {name}: {sum(map(len, train)) / config.sample_rate / 60:.1f} minutes, {steps} steps."
        out = output or to
        write_bundle(out, *extended(bundle, name, decoder, note))
    except ValueError as error:
        raise UserError(str(error)) from None
    return f"{_compare(BundlePlayer(out), valid)}\n{out} has the domain '{name}' now; {note}"


def _config(manifest: Manifest) -> Config:
    config = preset(manifest.preset)
    if config.live is None or config.latent_channels != manifest.latent_channels:
        raise UserError(
            f"add-domain trains decoders of the preset 'live'; this bundle was made with '{manifest.preset}'. "
            "Train it anew with `python -m umtn train`."
        )
    return config if manifest.sample_rate == config.sample_rate else scaled(config, manifest.sample_rate)


def _read(place: Path, rate: int, seed: int) -> tuple[list[Floats], list[Floats]]:
    """Recordings to train on and recordings held out, at one common level."""
    files = (
        [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES)
    )
    if not files:
        wanted = ", ".join(SUFFIXES)
        raise UserError(
            f"'{place}' holds no recording; a sound file or a folder of them is wanted ({wanted})"
        )
    read = {str(path): read_audio(path, rate).astype(np.float32) / 32768 for path in files}
    seconds = sum(map(len, read.values())) / rate
    if seconds < LEAST_S:
        raise UserError(
            f"'{place}' holds {seconds:.1f} s; at least {LEAST_S:.0f} s are wanted, ten minutes are better"
        )
    together = np.concatenate(list(read.values()))
    frames = together[: len(together) // 1200 * 1200].reshape(-1, 1200)
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    if power.max() < 1e-8:
        raise UserError(f"'{place}' is silent; are these the right files?")
    gain = np.float32(10 ** (LEVEL_DBFS / 20) / np.sqrt(power[power > power.max() * 1e-4].mean()))
    even: dict[str, Floats] = {name: np.asarray(gain * audio, np.float32) for name, audio in read.items()}
    splits = split_files({name: len(audio) for name, audio in even.items()}, VALID_SHARE, seed)
    valid = [even[name] for name in even if splits[name] == "valid"]
    if valid and sum(map(len, valid)) <= MOST_HELD_OUT * len(together):
        return [even[name] for name in even if splits[name] == "train"], valid
    # few long files: the end of each instead
    ends = [(audio, round(len(audio) * (1 - VALID_SHARE))) for audio in even.values()]
    return [audio[:end] for audio, end in ends], [audio[end:] for audio, end in ends]


def _listen(player: BundlePlayer, recordings: list[Floats], rate: int, seed: int) -> Iterator[Heard]:
    """Every piece at a level of its own, as a player plays softly and loudly."""
    rng, n = np.random.default_rng(seed), round(PIECE_S * rate)
    for audio in recordings:
        for first in range(0, len(audio), n):
            piece = audio[first : first + n] * np.float32(10 ** (rng.uniform(*GAINS_DB) / 20))
            if len(piece) >= rate:
                yield Heard(piece.clip(-1, 1), player.latent(piece.clip(-1, 1)))


def _checkpoint(given: Path | None, bundle: Path) -> Path | None:
    if given is not None:
        return given
    usual = Path("models") / bundle.stem
    return usual if (usual / "checkpoint.json").is_file() else None


def _first_guess(config: Config, name: str, start: Path | None, heard: list[Heard]) -> LiveDecoder:
    """A fresh decoder, or the one of the checkpoint that is nearest to the recordings already."""
    fresh = live_of(build_decoder(config, name))
    if start is None:
        return fresh
    translator = checkpoint.load(start)
    if _sizes(translator.config) != _sizes(config):
        raise UserError(f"'{start}' has other sizes than the bundle; give its own checkpoint with --start")
    frames = round(4 * config.sample_rate) // config.hop
    pieces = [h for h in heard if h.latent.shape[1] >= frames][:8] or heard[:1]
    frames = min(frames, *(h.latent.shape[1] for h in pieces))
    z = torch.from_numpy(np.stack([h.latent[:, LAG_FRAMES:frames] for h in pieces]))
    audio = torch.from_numpy(np.stack([h.audio[: (frames - LAG_FRAMES) * config.hop] for h in pieces]))
    first, losses = nearest(translator, translator.config.domains, z, audio)
    print(f"beginning with the decoder of '{first}', the nearest (" + listed(losses) + ")")
    # its unison and stiffness come along
    return live_of(translator.decoder(first)).requires_grad_(True)


def _sizes(config: Config) -> tuple[object, object]:
    """Encoder and decoder, whatever the characters of the domains."""
    alike = config.decoder if config.live is None else replace(config.live, characters=())
    return config.encoder, alike


def _learn(decoder: LiveDecoder, heard: list[Heard], rate: int, minutes: float, seed: int) -> int:
    with tqdm(total=round(60 * minutes), unit="s", desc="learning (Ctrl-C keeps what is learned)") as bar:

        def report(step: int, loss: float, share: float) -> None:
            bar.update(min(bar.total, round(60 * minutes * share)) - bar.n)
            bar.set_postfix_str(f"step {step} loss {loss:.3f}")

        return learn(decoder, heard, rate, minutes, report, seed)


def _compare(player: BundlePlayer, valid: list[Floats]) -> str:
    """Held-out recordings through every domain: how near they come back, spectrally and in loudness."""
    rate = player.sample_rate
    audio = np.concatenate(valid)[: round(JUDGED_S * rate)] if valid else np.zeros(rate, np.float32)
    rows = ["held-out recordings     spectral distance   loudness r"]
    for domain, made in player.play(audio, player.domains).items():
        lag, _ = signal_metrics.lag_s(made, audio, rate)
        near = signal_metrics.advance(made, lag, rate)
        rows.append(
            f"as {domain:<20} {signal_metrics.spectral_distance(near, audio):>17.2f} "
            f"{signal_metrics.loudness_correlation(near, audio, rate):>12.2f}"
        )
    return "\n".join(rows)
