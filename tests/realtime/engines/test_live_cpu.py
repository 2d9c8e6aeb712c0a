"""The native kernel of `live` models against PyTorch, on every instruction set of this machine."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.native_weights import encoder_weights, packed  # noqa: E402
from export.probe import test_signal as made_up_tune  # noqa: E402
from realtime.engines.live.kernel import NativePart  # noqa: E402
from realtime.engines.live.weights import DecoderWeights, EncoderWeights  # noqa: E402
from tests.realtime.engines.live_kernels import ISAS  # noqa: E402
from umtn.errors import UserError  # noqa: E402
from umtn.model.config import (  # noqa: E402
    Character,
    Config,
    LiveDecoderConfig,
    PitchEncoderConfig,
    PitchLatent,
)
from umtn.model.presets import preset  # noqa: E402
from umtn.model.translator import Translator  # noqa: E402

pytestmark = pytest.mark.skipif(not ISAS, reason="no compiled kernel and no compiler")

# nothing a multiple of anything; a unison, a stiff string, and no free channel
ODD = Config(
    "odd", 11025, 32,
    PitchEncoderConfig(layout=PitchLatent(41, 37, 0, 3), channels=7, dilations=(3, 1), longest=1024),
    LiveDecoderConfig(
        hidden=5, partials=9, bands=5, voices=3, characters=(Character("strings", (0.0, 5.0), 3e-4),)
    ),
)  # fmt: skip
CONFIGS = {"tiny": preset("tiny-live"), "odd": ODD}


class Model:
    """Random weights, PyTorch's and ours, of the first domain; louder than they come, so that voices compete."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.config = dataclasses.replace(config, domains=("strings",))
        translator = Translator(self.config).eval().requires_grad_(False)
        self.encoder, self.decoder = translator.encoder, translator.decoder("strings")
        self.decoder.level.bias.fill_(-1.0)
        self.decoder.level.weight.mul_(6)
        self.hop = self.config.hop
        self.encoder_weights = EncoderWeights.from_safetensors(encoder_weights(self.encoder, self.config))
        written = self.decoder.native_weights(self.config.sample_rate, self.config.pitch_layout)[""]
        self.decoder_weights = DecoderWeights.from_safetensors(packed(written))
        self.channels = self.config.latent_channels

    def heard(self, audio: np.ndarray) -> np.ndarray:
        """[N] -> PyTorch's latent [D, T]."""
        return self.encoder(torch.from_numpy(audio)[None, None])[0].numpy()

    def said(self, latent: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """PyTorch's audio [N] of a latent [D, T]."""
        given = torch.from_numpy(latent)[None], torch.from_numpy(noise)[None, None]
        audio, _ = self.decoder.decode_step(*given, torch.ones(1), self.decoder.init_state(1))
        return audio[0, 0].numpy()

    def encode(self, audio: np.ndarray, isa: str, frames: int = 1) -> np.ndarray:
        """[N] -> our latent [D, T], `frames` hops to a call, from poisoned buffers."""
        part = NativePart(self.encoder_weights, isa)
        given = np.full(frames * self.hop, np.nan, np.float32)
        latent = np.full((self.channels, frames), np.nan, np.float32)
        step, pieces = part.bind(given, None, latent, frames), []
        for piece in audio.reshape(-1, frames * self.hop):
            given[:] = piece
            step()
            pieces.append(latent.copy())
        return np.concatenate(pieces, axis=1)

    def decode(self, latent: np.ndarray, noise: np.ndarray, isa: str, frames: int = 1) -> np.ndarray:
        part = NativePart(self.decoder_weights, isa)
        given = np.full((self.channels, frames), np.nan, np.float32)
        fed, out = np.full((2, frames * self.hop), np.nan, np.float32)
        step, pieces = part.bind(given, fed, out, frames), []
        for i, piece in enumerate(noise.reshape(-1, frames * self.hop)):
            given[:], fed[:] = latent[:, i * frames : (i + 1) * frames], piece
            step()
            pieces.append(out.copy())
        return np.concatenate(pieces)


@pytest.fixture(scope="module", params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> Model:
    return Model(CONFIGS[request.param])


def _song(model: Model, frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Audio, noise [N] and a latent [D, T] in which pitches come, bend and go."""
    samples, random = frames * model.hop, np.random.default_rng(seed)
    audio = made_up_tune(samples, model.config.sample_rate, seed)
    slow = np.repeat(random.standard_normal((model.channels, -(-frames // 9))), 9, axis=1)[:, :frames]
    latent = (3 * slow + 0.1 * random.standard_normal((model.channels, frames))).astype(np.float32)
    return (
        audio,
        random.random(samples, dtype=np.float32),
        _off_the_border(latent, model.config.encoder.layout),
    )


def _off_the_border(latent: np.ndarray, layout: PitchLatent) -> np.ndarray:
    """Bends are rounded to 1/64 semitone: none may lie where a last bit decides which way."""
    cents = latent[layout.pitches : 2 * layout.pitches]
    steps = np.round(64 * 0.6 * np.tanh(cents.astype(np.float64)))
    cents[:] = np.arctanh(np.clip(steps, -38, 38) / (64 * 0.6))
    return latent


@pytest.mark.parametrize("isa", ISAS)
def test_the_encoder_hears_what_pytorch_hears(model: Model, isa: str) -> None:
    audio, _, _ = _song(model, 150)
    wanted = model.heard(audio)
    assert np.abs(model.encode(audio, isa) - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("isa", ISAS)
def test_the_decoder_says_what_pytorch_says(model: Model, isa: str) -> None:
    _, noise, latent = _song(model, 150)
    wanted = model.said(latent, noise)
    assert np.abs(wanted).max() > 0.1  # or there was nothing to compare
    assert np.abs(model.decode(latent, noise, isa) - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("isa", ISAS)
def test_hops_to_a_call_make_no_difference(model: Model, isa: str) -> None:
    audio, noise, latent = _song(model, 60)
    for frames in (2, 5):
        assert np.array_equal(model.encode(audio, isa), model.encode(audio, isa, frames))
        assert np.array_equal(model.decode(latent, noise, isa), model.decode(latent, noise, isa, frames))


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS[:1])
def test_a_minute_of_silence_noise_and_music_leaves_it_in_tune(isa: str) -> None:
    """Phases run for a minute; where they drifted, the last second would be the worst."""
    model = Model(CONFIGS["tiny"])
    rate, second = model.config.sample_rate, model.config.sample_rate // model.hop
    frames = 60 * second
    audio, noise, latent = _song(model, frames, seed=1)
    audio[10 * rate : 20 * rate] = 0
    audio[20 * rate : 25 * rate] = np.random.default_rng(2).uniform(-1, 1, 5 * rate)
    audio[25 * rate : 30 * rate] *= 40
    latent[: model.config.encoder.layout.pitches, 10 * second : 20 * second] = -12
    heard, said = model.heard(audio), model.said(latent, noise)
    assert np.abs(model.encode(audio, isa) - heard).max() < 1e-5 * np.abs(heard).max()
    error = np.abs(model.decode(latent, noise, isa) - said)
    assert error.max() < 1e-5 * max(1, np.abs(said).max())
    assert np.isfinite(said).all() and np.abs(said[-rate:]).max() > 0.1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden_and_a_reset_cures_it(model: Model, isa: str, bad: float) -> None:
    audio, noise, latent = _song(model, 40)
    encoder, decoder = NativePart(model.encoder_weights, isa), NativePart(model.decoder_weights, isa)
    heard, given = np.zeros(model.hop, np.float32), np.zeros((model.channels, 1), np.float32)
    z, out = np.zeros_like(given), np.zeros(model.hop, np.float32)
    hear = encoder.bind(heard, None, z, 1)
    say = decoder.bind(given, noise[: model.hop], out, 1)

    def run(ear: float, thought: float) -> list[np.ndarray]:
        made = []
        for i in range(20):
            heard[:], given[:] = audio[i * model.hop : (i + 1) * model.hop], latent[:, i, None]
            if i == 5:
                heard[3] += ear
                given[0] += thought
            hear()
            say()
            made += [z.copy(), out.copy()]
        return made

    fresh = run(0, 0)
    encoder.reset(), decoder.reset()
    spoiled = run(bad, np.nan)
    assert not np.isfinite(spoiled[10]).all() and not np.isfinite(spoiled[11]).all()
    encoder.reset(), decoder.reset()
    assert all(np.array_equal(a, b) for a, b in zip(fresh, run(0, 0)))


def test_an_instruction_set_that_is_not_here_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match=f"mmx is not to be had.*it has {', '.join(ISAS)}"):
        NativePart(model.encoder_weights, "mmx")


def test_arrays_that_the_kernel_would_misread_are_refused(model: Model) -> None:
    part, out = NativePart(model.encoder_weights), np.zeros((model.channels, 1), np.float32)
    with pytest.raises(ValueError, match="contiguous float32"):
        part.bind(np.zeros(model.hop), None, out, 1)
    with pytest.raises(ValueError, match="contiguous float32"):
        part.bind(np.zeros(2 * model.hop, np.float32)[::2], None, out, 1)
