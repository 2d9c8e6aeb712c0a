"""The convolutional decoders: streamed as offline, their own past heard, their sub-bands in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.onnx import export_decoder
from export.probe import OnnxStepper, module_stepper, script_stepper, stream
from export.torchscript import script_decoder
from tests.contract import check_contract
from tests.umtn.test_models import decoder_input
from umtn.model.decoders.base import fold_noise
from umtn.model.decoders.conv import ConvDecoder, subband_synthesis
from umtn.model.presets import preset
from umtn.model.translator import Translator

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
NAMES = ["tiny-live-conv", "tiny-live-conv-past"]


def translator(name: str) -> Translator:
    torch.manual_seed(1)
    return Translator(preset(name)).eval()


def decoder(name: str) -> ConvDecoder:
    found = translator(name).decoder("strings")
    assert isinstance(found, ConvDecoder)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_streamed_is_offline(name: str) -> None:
    whole = translator(name)
    check_contract(whole.decoder("piano"), decoder_input(whole, "piano", 12))


def test_told_what_it_said_it_says_it_again() -> None:
    """Training runs a whole clip at once; given the true past of a performance, that is the performance."""
    past = decoder("tiny-live-conv-past")
    z, noise = torch.randn(2, past.latent_channels, 6), torch.rand(2, 1, 6 * past.hop)
    with torch.no_grad():
        played = past(torch.cat([z, fold_noise(noise, past.hop)], dim=1))
        before = torch.nn.functional.pad(played[:, :, : -past.hop], [past.hop, 0])
        again = past.taught(z, noise, before)
        other = past.taught(z, noise, before.flip(2))
    assert torch.allclose(again, played, atol=1e-6)
    assert not torch.allclose(other, played, atol=1e-6)


def test_it_hears_as_much_of_its_past_as_it_says() -> None:
    past = decoder("tiny-live-conv-past")
    frames, hop, heard = 8, past.hop, preset("tiny-live-conv-past").decoder.past  # type: ignore[union-attr]
    with torch.no_grad():
        for (
            layer
        ) in past.body.layers:  # one frame alone: what later frames hear by way of the body is another matter
            for conv in (
                m for m in layer.modules() if isinstance(m, torch.nn.Conv1d) and m.kernel_size == (3,)
            ):
                conv.weight[:, :, :2] = 0
    before = torch.randn(1, 1, frames * hop, requires_grad=True)
    z, noise = torch.zeros(1, past.latent_channels, frames), torch.rand(1, 1, frames * hop)
    last = past.taught(z, noise, before)[:, :, -1]
    (gradient,) = torch.autograd.grad(last.sum(), before)
    reached = gradient[0, 0].nonzero()[:, 0]
    assert int(reached.max()) == frames * hop - 1
    # the synthesis and the upsampling overlap with the frames before
    assert heard <= int(reached.max() - reached.min()) + 1 <= heard + 2 * hop


def test_feedback_stays_bounded() -> None:
    past = decoder("tiny-live-conv-past")
    with torch.no_grad():
        for parameter in past.parameters():
            parameter.mul_(4)
        said = past(
            torch.cat([10 * torch.randn(1, past.latent_channels, 30), torch.rand(1, past.hop, 30)], dim=1)
        )
    assert said.abs().max() <= 1


@pytest.mark.parametrize("band", [0, 2, 3])
def test_a_band_sounds_in_its_place(band: int) -> None:
    torch.manual_seed(0)
    bands = torch.zeros(1, 4, 2048)
    bands[:, band] = torch.randn(2048)
    with torch.no_grad():
        power = torch.fft.rfft(subband_synthesis(4)(bands)[0, 0]).abs().square()
    edge = len(power) // 4
    assert float(power[band * edge : (band + 1) * edge].sum() / power.sum()) > 0.85
    assert 0.5 < float(power.sum() / power.numel() / 2048 / 4) < 2  # as loud as it came


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_plays_alike_from_onnx_and_torchscript(name: str) -> None:
    """Its own past is one more state in both."""
    module, blocks = decoder(name).requires_grad_(False), 6
    ports = [
        torch.randn(1, module.latent_channels, blocks).numpy(),
        torch.rand(1, 1, blocks * module.hop).numpy(),
    ]
    wanted = stream(module_stepper(module), ports, blocks)
    scripted = script_stepper(script_decoder(module), name)
    assert np.abs(stream(scripted, ports, blocks) - wanted).max() < 1e-6
    onnx = OnnxStepper(*export_decoder(module, 1))
    assert np.abs(stream(onnx, ports, blocks) - wanted).max() < 1e-5
