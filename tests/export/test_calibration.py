"""What int8 scales by is what the layers are really given."""

from __future__ import annotations

import numpy as np
import torch

from export.native_weights import activation_maxima
from export.probe import test_signal
from umtn.model.companding import mulaw_encode
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.presets import preset
from umtn.model.translator import Translator


def test_maxima_of_every_layer() -> None:
    torch.manual_seed(0)
    translator = Translator(preset("tiny-wavenet-plain"))
    decoder, encoder = translator.decoder("strings"), translator.encoder
    assert isinstance(decoder, WaveNetDecoder)
    audio = test_signal(40 * encoder.block, translator.config.sample_rate)  # type: ignore[operator]
    found = activation_maxima(encoder, decoder, audio)  # type: ignore[arg-type]
    layers, r, s = len(decoder.dilations), decoder.residual, decoder.skip
    shapes = {name.removeprefix("calibration."): tuple(value.shape) for name, value in found.items()}
    assert shapes == {"input": (layers, r), "gated": (layers, r), "head": (s,), "classify": (s,)}
    heard = torch.from_numpy(audio)[None]
    past = torch.nn.functional.pad(
        mulaw_encode(heard, decoder.classes)[:, :-1], [1, 0], value=decoder.classes // 2
    )
    first = decoder.embed(past)[0].abs().amax(dim=0)
    assert np.allclose(found["calibration.input"][0].numpy(), first.detach().numpy())
    assert float(found["calibration.gated"].max()) <= 1.0  # sigmoid times tanh
