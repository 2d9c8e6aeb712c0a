"""The native encoder of WaveNet bundles: its mouth against PyTorch, both parts against ONNX Runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.bundle.bundle import Bundle, write_bundle  # noqa: E402
from export.native_weights import encoder_weights  # noqa: E402
from realtime.engines.engine import StreamBuffers  # noqa: E402
from realtime.engines.live import kernel  # noqa: E402
from realtime.engines.live.engine import ConditionedPart, conditioned_part  # noqa: E402
from realtime.engines.live.kernel import NativePart  # noqa: E402
from realtime.engines.live.weights import ConditionerWeights  # noqa: E402
from realtime.engines.onnx import encoder_stepper  # noqa: E402
from realtime.engines.wavenet.engine import WavenetCpuEngine  # noqa: E402
from realtime.recording.restore import restore, save  # noqa: E402
from realtime.recording.snapshot import Plan  # noqa: E402
from tests.realtime.engines.live_kernels import ISAS  # noqa: E402
from umtn.errors import UserError  # noqa: E402
from umtn.model.config import ConditionedEncoderConfig, PitchEncoderConfig  # noqa: E402
from umtn.model.pitch_encoder import (  # noqa: E402
    ConditionedEncoder,
    PitchLatent,
)
from umtn.model.presets import preset  # noqa: E402
from umtn.model.translator import Translator  # noqa: E402

pytestmark = pytest.mark.skipif(not ISAS, reason="no compiled kernel and no compiler")

TINY = dataclasses.replace(preset("tiny-wavenet-plain"), hop=64)
# nothing a multiple of anything, and no free channel
ODD = ConditionedEncoderConfig(
    ear=PitchEncoderConfig(layout=PitchLatent(41, 37, 0, 3), channels=7, dilations=(1,), longest=512),
    channels=43,
    dilations=(3, 1, 5),
    latent=35,
)
CONFIGS = {
    "tiny": TINY,
    "odd": dataclasses.replace(TINY, encoder=ODD),
    "no layers": dataclasses.replace(TINY, encoder=dataclasses.replace(ODD, dilations=())),
}
ENCODER = "weights/encoder.safetensors"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", list(CONFIGS))
@pytest.mark.parametrize("frames", [1, 3])
def test_the_mouth_tells_what_pytorch_tells(size: str, isa: str, frames: int) -> None:
    torch.manual_seed(0)
    config, hops = CONFIGS[size], 60
    encoder = Translator(config).eval().requires_grad_(False).encoder
    assert isinstance(encoder, ConditionedEncoder)
    part = NativePart(ConditionerWeights.from_safetensors(encoder_weights(encoder, config)), isa)
    assert config.ear is not None
    heard = 4 * torch.randn(1, config.ear.layout.channels, hops)
    wanted, _ = encoder.say(heard, encoder.mouth.init_state(1))
    given = np.full((heard.shape[1], frames), np.nan, np.float32)
    told = np.full((config.latent_channels, frames), np.nan, np.float32)
    step, pieces = part.bind(given, None, told, frames), []
    for i in range(0, hops, frames):
        given[:] = heard[0, :, i : i + frames].numpy()
        step()
        pieces.append(told.copy())
    error = np.abs(np.concatenate(pieces, axis=1) - wanted[0].numpy()).max()
    assert error < 1e-5 * max(1.0, float(wanted.abs().max()))


def _hear(bundle: Bundle, part: object, buffers: StreamBuffers, first: int, blocks: int) -> np.ndarray:
    block, audio = bundle.manifest.block, np.random.default_rng(0).uniform(-0.5, 0.5, (200, 999))
    pieces = []
    for i in range(first, first + blocks):
        buffers.audio[0, 0] = audio[i, :block]
        part.step()  # type: ignore[attr-defined]
        pieces.append(buffers.latent[0].copy())
    return np.concatenate(pieces, axis=1)


def test_it_hears_what_onnx_runtime_hears_and_a_reset_forgets(wavenet_bundle: Bundle) -> None:
    ours, theirs = StreamBuffers(wavenet_bundle.manifest), StreamBuffers(wavenet_bundle.manifest)
    part, reference = ConditionedPart(wavenet_bundle, ours), encoder_stepper(wavenet_bundle, theirs)
    first, wanted = (_hear(wavenet_bundle, *it, 0, 100) for it in ((part, ours), (reference, theirs)))
    assert np.abs(first - wanted).max() < 1e-5 * max(1.0, np.abs(wanted).max())
    assert not np.array_equal(_hear(wavenet_bundle, part, ours, 0, 100), first)
    part.reset()
    assert np.array_equal(_hear(wavenet_bundle, part, ours, 0, 100), first)


def test_a_snapshot_holds_all_of_it(wavenet_bundle: Bundle, tmp_path: Path) -> None:
    both = [StreamBuffers(wavenet_bundle.manifest) for _ in range(2)]
    part, other = (ConditionedPart(wavenet_bundle, buffers) for buffers in both)
    _hear(wavenet_bundle, part, both[0], 0, 50)
    plan = Plan(part)
    plan.capture()
    assert not plan.unsaved
    save(plan, tmp_path / "x.npz")
    wanted = _hear(wavenet_bundle, part, both[0], 50, 50)
    _hear(wavenet_bundle, other, both[1], 7, 3)
    restore(other, tmp_path / "x.npz")
    assert np.array_equal(_hear(wavenet_bundle, other, both[1], 50, 50), wanted)


def _changed(bundle: Bundle, path: Path, encoder: bytes | None) -> Bundle:
    """The bundle with another encoder's file, or none, hashes and all."""
    files = {name: bundle.read(name) for name in bundle.names if name != ENCODER}
    new = {} if encoder is None else {ENCODER: encoder}
    write_bundle(path, dataclasses.replace(bundle.manifest, files={}), files | new)
    return Bundle.open(path)


def test_without_weights_or_kernel_onnx_runtime_hears(
    wavenet_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.library()
    assert isinstance(WavenetCpuEngine(wavenet_bundle)._encoder, ConditionedPart)
    older = _changed(wavenet_bundle, tmp_path / "older.umtn", None)
    assert not isinstance(WavenetCpuEngine(older)._encoder, ConditionedPart)
    monkeypatch.setattr(kernel, "ready", lambda: None)
    assert conditioned_part(wavenet_bundle, StreamBuffers(wavenet_bundle.manifest)) is None
    assert not isinstance(WavenetCpuEngine(wavenet_bundle)._encoder, ConditionedPart)


def test_damaged_weights_are_refused(wavenet_bundle: Bundle, tmp_path: Path) -> None:
    data, buffers = wavenet_bundle.read(ENCODER), StreamBuffers(wavenet_bundle.manifest)
    for i, (damaged, sentence) in enumerate(
        (
            (data.replace(b'"latent\\": 6', b'"latent\\": 7'), "mouth.layers.4.conv.weight is .*7, 8, 1"),
            (data.replace(b"mouth.layers.0", b"mouth.layers.9"), "mouth.layers.0.conv.weight is missing"),
            (data.replace(b'"heard\\"', b'"hoard\\"'), "of the kind 'hoard'"),
            (data.replace(b'"mouth"', b'"month"'), "does not say which mouth"),
            (data.replace(b'"hop\\": 64', b'"hop\\": 32'), "the hop of .* is 32, but the manifest's is 64"),
        )
    ):
        assert damaged != data, sentence
        with pytest.raises(UserError, match=sentence):
            ConditionedPart(_changed(wavenet_bundle, tmp_path / f"{i}.umtn", damaged), buffers)
