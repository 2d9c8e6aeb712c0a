"""The pieces of the export: tracing, latency, probe noise, ties."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export.bundle.bundle import BundleError
from export.latency import measure_latency, measure_onset_ms
from export.onnx import LARGE, export_decoder, export_encoder, export_wavenet, initial_states, trace
from export.probe import OnnxStepper, make_probe, module_stepper, stream, test_signal, untied_noise
from export.verify import _draw_row, _is_tie
from tests.contract import check_contract
from tests.export.toys import HOP, Fold, Unfold
from umtn.model.decoders.wavenet import WaveNetDecoder
from umtn.model.layers import CausalConv1d, PitchGRU
from umtn.model.presets import preset
from umtn.model.streaming import Delay, State, StreamingModule, StreamingSequential
from umtn.model.translator import build_decoder

RATE = 8000


class Log(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x + 1e-8)


def test_small_constants_survive_the_exporter() -> None:
    """The exporter's optimiser took the 1e-8 in log(power + 1e-8) for zero: quiet bins were wrong by 0.4."""
    model = trace(Log(), {"x": torch.ones(4)}, ["y"])
    x = np.array([0.0, 1e-9, 1e-8, 1.0], np.float32)
    (y,) = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    np.testing.assert_allclose(y, np.log(x + np.float32(1e-8)), rtol=1e-6)


def test_streaming_layers_as_onnx() -> None:
    """Stride, nesting, dilation: the graph streamed equals the module offline."""
    torch.manual_seed(0)
    encoder = StreamingSequential(CausalConv1d(1, 4, 7, stride=4), CausalConv1d(4, 3, 3, dilation=2))
    data, graph = export_encoder(encoder)
    assert [state.name for state in graph.states] == ["0.context", "1.context"]
    audio = np.random.default_rng(0).standard_normal((1, 1, 64)).astype(np.float32)
    got = stream(OnnxStepper(data, graph), [audio], 16)
    with torch.no_grad():
        np.testing.assert_allclose(got, encoder(torch.from_numpy(audio)).numpy(), atol=1e-6)
    assert onnx.load_from_string(data).graph.node[0].doc_string == ""


def test_a_gru_becomes_the_operator() -> None:
    gru = PitchGRU(2, 4, pitches=3)
    inputs = {"x": torch.randn(1, 2, 3, 1), "state": gru.init_state(1)[0]}

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = gru

        def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            y, after = self.gru.step(x, [state])
            return y, after[0]

    model = trace(Step(), inputs, ["y", "next"])
    assert "GRU" in {node.op_type for node in model.graph.node}


class Counting(StreamingModule):
    """Starts at one number, or at several."""

    def __init__(self, start: list[float]) -> None:
        super().__init__()
        self.start = start

    def init_state(self, streams: int) -> State:
        return [torch.tensor(self.start, dtype=torch.float64).expand(streams, -1).contiguous()]

    def state_names(self) -> list[str]:
        return ["count"]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        total = torch.cumsum(x[:, 0].double(), 1) + state[0][:, :1]
        return total.float().unsqueeze(1), [total[:, -1:].expand(-1, len(self.start)).contiguous()]


def test_initial_values_and_double_states() -> None:
    data, graph = export_encoder(Counting([2.5, 2.5]))
    assert graph.states[0].initial == 2.5 and graph.states[0].dtype == "float64"
    got = stream(OnnxStepper(data, graph), [np.ones((1, 1, 3), np.float32)], 3)
    assert got.flatten().tolist() == [3.5, 4.5, 5.5]
    with pytest.raises(BundleError, match="does not start as one number"):
        initial_states(Counting([1.0, 2.0]))


def test_a_decoder_without_noise_has_no_noise_input() -> None:
    data, graph = export_decoder(Unfold(3))
    assert [port.name for port in graph.inputs] == ["latent"]
    latent = np.arange(16, dtype=np.float32).reshape(2, 8).T[None]
    got = stream(OnnxStepper(data, graph), [np.ascontiguousarray(latent)], 2)
    assert got.flatten().tolist() == [0, 0, 0, *range(13)]
    check_contract(Fold(), torch.randn(1, 1, 10 * HOP))


@pytest.mark.parametrize("late", [0, 1, 5, 8, 100])
def test_latency_is_measured(late: int) -> None:
    """Nobody declares it: the codec that hands audio through has none, one with a delay has that delay."""
    assert measure_latency(Fold(), Unfold(late), RATE) == late


def test_a_model_that_never_answers() -> None:
    with pytest.raises(BundleError, match="does not change with the input"):
        measure_latency(Fold(), Unfold(dead=True), RATE)
    assert measure_onset_ms(Fold(), Unfold(dead=True), RATE) is None


def test_onset_follows_the_delay() -> None:
    early, late = (measure_onset_ms(Fold(), Unfold(n), RATE) for n in (0, 400))
    assert early is not None and late is not None
    assert 0 <= early < 6 and late - early == pytest.approx(50, abs=1)


def test_latency_of_a_sampled_decoder(sampler: WaveNetDecoder) -> None:
    encoder = StreamingSequential(CausalConv1d(1, 6, 80, stride=80))
    # it hears the block's latent from its first sample on
    assert measure_latency(encoder, sampler, RATE) == 0
    late = StreamingSequential(CausalConv1d(1, 6, 80, stride=80), Delay(6, 2))
    assert measure_latency(late, sampler, RATE) == 160


def test_a_sampled_decoder_that_does_not_listen(sampler: WaveNetDecoder) -> None:
    nn.init.zeros_(sampler.condition.weight)
    encoder = StreamingSequential(CausalConv1d(1, 6, 80, stride=80))
    with pytest.raises(BundleError, match="does not change with the input"):
        measure_latency(encoder, sampler, RATE)


@pytest.mark.slow
def test_weights_are_stored_in_half_the_room_where_that_loses_nothing(sampler: WaveNetDecoder) -> None:
    latent = np.random.default_rng(0).standard_normal((1, 6, 4)).astype(np.float32)
    for rounded in (False, True):
        if rounded:
            for parameter in sampler.parameters():
                parameter.data = parameter.data.half().float()
        noise = untied_noise({"strings": sampler}, latent, 4 * 80, 4, seed=0)[0][None, None]
        data, graph = export_wavenet(sampler)
        got = stream(OnnxStepper(data, graph), [latent, noise], 4)
        assert np.array_equal(got, run(sampler, latent, noise))
        large = [w for w in onnx.load_from_string(data).graph.initializer if math.prod(w.dims) >= LARGE]
        wanted = onnx.TensorProto.FLOAT16 if rounded else onnx.TensorProto.FLOAT
        assert large and {weight.data_type for weight in large} == {wanted}


def test_the_signal_has_a_level_and_a_seed() -> None:
    assert np.array_equal(test_signal(1000, RATE), test_signal(1000, RATE))
    assert not np.array_equal(test_signal(1000, RATE), test_signal(1000, RATE, seed=1))
    assert 0.05 < np.abs(test_signal(RATE, 48000)).max() <= 0.6


@pytest.fixture
def sampler() -> WaveNetDecoder:
    torch.manual_seed(0)
    decoder = build_decoder(preset("tiny-wavenet-plain"), "strings").eval()
    assert isinstance(decoder, WaveNetDecoder)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return decoder


def run(decoder: WaveNetDecoder, latent: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return stream(module_stepper(decoder), [latent, noise], latent.shape[2])


@pytest.mark.slow
def test_probe_noise_has_no_ties(sampler: WaveNetDecoder) -> None:
    """Moved by 1e-6 either way it draws the same audio, which plain noise need not (here it does not)."""
    blocks = 12
    latent = np.random.default_rng(0).standard_normal((1, 6, blocks)).astype(np.float32)
    noise = untied_noise({"strings": sampler}, latent, blocks * 80, blocks, seed=0)[0][None, None]
    for nudge in (1e-6, -1e-6):
        moved = (noise + np.float32(nudge)).clip(0, 1 - 2**-24)
        assert np.array_equal(run(sampler, latent, noise), run(sampler, latent, moved))
    assert 0.4 < noise.mean() < 0.6 and len(np.unique(noise)) > 900


@pytest.mark.slow
def test_a_tie_is_told_from_a_fault(sampler: WaveNetDecoder) -> None:
    """Bisect the border between two classes; on it either class will do, beside it only the right one."""
    latent = np.random.default_rng(0).standard_normal((1, 6, 2)).astype(np.float32)
    noise = np.full((1, 1, 160), 0.5, np.float32)
    sample, low, high = 100, 0.1, 0.9

    def drawn(uniform: float) -> float:
        noise[0, 0, sample] = uniform
        return float(run(sampler, latent, noise)[0, 0, sample])

    below, above = drawn(low), drawn(high)
    assert below != above
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if drawn(middle) == below else (low, middle)
    above = drawn(high)
    drawn(low)
    assert _is_tie(sampler, latent, noise, sample, above)
    reference = run(sampler, latent, noise)
    got = reference.copy()
    got[0, 0, sample:] = 9.0
    got[0, 0, sample] = above
    row = _draw_row("g", "onnx", "1", sampler, latent, noise, reference, got)
    assert row.passed and "is a rounding tie" in row.remark
    noise[0, 0, sample] = low - 1e-3
    assert not _is_tie(sampler, latent, noise, sample, above)
    assert not _draw_row("g", "onnx", "1", sampler, latent, noise, reference, got).passed


def test_probe_of_a_codec() -> None:
    blocks, arrays = make_probe(Fold(), {"a": Unfold(2)}, RATE)
    assert set(arrays) == {"audio", "latent", "audio.a"}
    assert (
        np.array_equal(arrays["audio.a"][2:], arrays["audio"][:-2]) and len(arrays["audio"]) == blocks * HOP
    )
