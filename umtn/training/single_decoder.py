"""One decoder learns alone from plain recordings, the encoder frozen: a domain of one's own.

What is learned from is what the frozen encoder says of each recording (its latent) and the recording itself:
the reconstruction objective of Mor et al. 2018, without pairs and without the confusion network, because the
latent no longer moves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
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
from umtn.model.translator import Translator, build_decoder
from umtn.offline import BundlePlayer
from umtn.training.band_extension import scaled
from umtn.training.ema import Average
from umtn.training.spectral_loss import BankSpectrumLoss

if TYPE_CHECKING:
    from export.bundle.bundle import Manifest

__all__ = ["EncodedClip", "add_domain", "learn", "listed", "nearest", "reconstruction_loss"]


Floats = NDArray[np.float32]
BATCH, SECONDS, RATE, WARM_UP, CLIP_NORM, EMA = 8, 2.4, 3e-3, 20, 1.0, 0.999
LAG_FRAMES = 2  # as the other decoders: a note is said two frames after it was heard
LOUDEST, WARM_UP_S = 4.0, 0.3


@dataclass(frozen=True)
class EncodedClip:
    """One recording as the encoder heard it: audio [N], latent [D, N / hop]."""

    audio: Floats
    latent: Floats


def reconstruction_loss(
    decoder: LiveDecoder, spectral: BankSpectrumLoss, z_BDT: torch.Tensor, audio_BN: torch.Tensor
) -> torch.Tensor:
    """Distance of what the decoder's controls would sound like from the recording; the first 0.3 s warm it up."""
    weight = torch.ones(len(z_BDT), z_BDT.shape[2])
    weight[:, : round(WARM_UP_S * spectral.rate / decoder.hop)] = 0
    with torch.autocast(z_BDT.device.type, torch.bfloat16):
        amplitude, semitones, gains, _ = decoder.controls(z_BDT, decoder.init_state(len(z_BDT)))
    return spectral(decoder, amplitude.float(), semitones.float(), gains.float(), audio_BN, weight)  # type: ignore[no-any-return]


@torch.no_grad()
def nearest(
    translator: Translator, domains: Iterable[str], z_BDT: torch.Tensor, audio_BN: torch.Tensor
) -> tuple[str, dict[str, float]]:
    """The domain whose decoder says what is most like `audio` already, and the losses of all that were asked."""
    spectral, losses = BankSpectrumLoss(translator.config.sample_rate), {}
    for domain in domains:
        decoder = live_of(translator.decoder(domain))
        losses[domain] = float(reconstruction_loss(decoder, spectral, z_BDT, audio_BN))
    return min(losses, key=losses.__getitem__), losses


def listed(losses: dict[str, float]) -> str:
    """What `nearest` found, for people."""
    return ", ".join(f"{name} {loss:.2f}" for name, loss in losses.items())


class _Clips:
    """Clips drawn by duration from recordings that are longer than a clip (shorter ones are padded)."""

    def __init__(self, heard: list[EncodedClip], rate: int, hop: int, seed: int) -> None:
        self.frames, self.hop = round(SECONDS * rate) // hop, hop
        self.heard = heard
        lengths = np.array([max(1, h.latent.shape[1] - self.frames) for h in heard], float)
        self.shares = lengths / lengths.sum()
        self.rng = np.random.default_rng(seed)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        latents, audios = [], []
        for index in self.rng.choice(len(self.heard), BATCH, p=self.shares):
            h = self.heard[index]
            first = int(self.rng.integers(0, max(1, h.latent.shape[1] - self.frames + 1)))
            latent = h.latent[:, first : first + self.frames]
            start = (first - LAG_FRAMES) * self.hop
            audio = h.audio[max(0, start) : max(0, start + self.frames * self.hop)]
            audio = np.pad(audio, (max(0, -start), 0))
            latents.append(np.pad(latent, ((0, 0), (0, self.frames - latent.shape[1])), mode="edge"))
            audios.append(np.pad(audio, (0, self.frames * self.hop - len(audio))))
        return torch.from_numpy(np.stack(latents)), torch.from_numpy(np.stack(audios))


def learn(
    decoder: LiveDecoder,
    heard: list[EncodedClip],
    rate: int,
    minutes: float,
    report: Callable[[int, float, float], None] = lambda step, loss, share: None,
    seed: int = 0,
    max_steps: int | None = None,
) -> int:
    """Train `decoder` in place for `minutes`; its weights end as their running average; -> steps taken.

    Ctrl-C ends the training early and keeps what was learned. report(step, loss, share of the time).
    """
    clips, spectral = _Clips(heard, rate, decoder.hop, seed), BankSpectrumLoss(rate)
    parameters = list(decoder.parameters())
    optimiser = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.99))
    average, start, step = Average(decoder, EMA), time.monotonic(), 0
    decoder.train()
    try:
        while max_steps is None or step < max_steps:
            share = (time.monotonic() - start) / (60 * minutes)
            if share >= 1:
                break
            pace = min(1.0, (step + 1) / WARM_UP) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share)))
            optimiser.param_groups[0]["lr"] = RATE * pace
            loss = reconstruction_loss(decoder, spectral, *clips.draw())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimiser.step()
            average.update(decoder)
            step += 1
            report(step, float(loss.detach()), share)
    except KeyboardInterrupt:
        pass
    if step:
        decoder.load_state_dict(average.weights)
    decoder.eval()
    return step


# A domain of one's own, top to bottom: read, listen, learn, compare, add.
#
# The encoder is the bundle's own ONNX graph, so that the decoder learns from exactly what it will hear on stage.


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


def _listen(player: BundlePlayer, recordings: list[Floats], rate: int, seed: int) -> Iterator[EncodedClip]:
    """Every piece at a level of its own, as a player plays softly and loudly."""
    rng, n = np.random.default_rng(seed), round(PIECE_S * rate)
    for audio in recordings:
        for first in range(0, len(audio), n):
            piece = audio[first : first + n] * np.float32(10 ** (rng.uniform(*GAINS_DB) / 20))
            if len(piece) >= rate:
                yield EncodedClip(piece.clip(-1, 1), player.latent(piece.clip(-1, 1)))


def _checkpoint(given: Path | None, bundle: Path) -> Path | None:
    if given is not None:
        return given
    usual = Path("models") / bundle.stem
    return usual if (usual / "checkpoint.json").is_file() else None


def _first_guess(config: Config, name: str, start: Path | None, heard: list[EncodedClip]) -> LiveDecoder:
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


def _learn(decoder: LiveDecoder, heard: list[EncodedClip], rate: int, minutes: float, seed: int) -> int:
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
