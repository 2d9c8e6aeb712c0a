"""Parameters and multiplications of models that are small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.realtime.fakebundle import write_fake_bundle
from tests.umtn import tinydata
from umtn.data.dataset import Dataset
from umtn.evaluation.evaluate import cost, graph_macs, graph_parameters, size
from umtn.evaluation.material import Material
from umtn.model.presets import preset
from umtn.model.translator import Translator
from umtn.offline import CheckpointPlayer, open_player


def graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: list[int]) -> bytes:
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    tensors = [numpy_helper.from_array(w, name) for name, w in weights.items()]
    whole = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def test_a_grouped_convolution_is_counted() -> None:
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], group=2)]
    weights = {"w": np.zeros((6, 2, 3), np.float32), "b": np.zeros(6, np.float32)}
    data = graph(nodes, weights, [1, 4, 10])
    assert graph_parameters(data) == 6 * 2 * 3 + 6
    assert graph_macs(data) == 6 * 8 * 2 * 3  # out channels, out steps, in channels of a group, kernel


def test_a_matrix_product_after_an_elementwise_node_is_counted() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    data = graph(nodes, {"w": np.zeros((5, 7), np.float32)}, [3, 5])
    assert graph_macs(data) == 3 * 5 * 7


def test_an_open_shape_gives_no_figure() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert graph_macs(graph(nodes, {"w": np.zeros((5, 7), np.float32)}, [0, 5])) is None


def test_a_checkpoint_counts_encoder_and_one_decoder() -> None:
    translator = Translator(replace(preset("tiny-live"), domains=tinydata.DOMAINS)).eval()
    found = size(CheckpointPlayer(translator, "tiny", {}), "piano")
    parts = (translator.encoder, translator.decoders["piano"])
    assert found["parameters"] == sum(p.numel() for part in parts for p in part.parameters())
    every_weight_once_a_frame = found["parameters"] * translator.config.sample_rate / translator.config.hop
    assert found["mac_per_s"] > 0.5 * every_weight_once_a_frame


@pytest.mark.slow
def test_a_guided_checkpoint_is_played_and_counted() -> None:
    config = replace(preset("tiny-wavenet-live"), domains=tinydata.DOMAINS)
    player = CheckpointPlayer(Translator(config).eval(), "tiny", {})
    found = size(player, "piano")
    decoder = player.translator.decoder("piano")
    guide, net = decoder.guide, decoder.wavenet  # type: ignore[union-attr]
    assert found["parameters"] > sum(p.numel() for part in (guide, net) for p in part.parameters())
    products = sum(p.numel() for n, p in net.named_parameters() if "condition" not in n and "embed" not in n)
    assert found["mac_per_s"] > products * config.sample_rate  # each of them at every sample
    out = player.play(np.full(200, 0.1, np.float32), ("piano",))["piano"]
    assert out.shape == (200,) and np.isfinite(out).all()


def test_a_bundle_is_timed_and_counted(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "fake.umtn")
    player = open_player(tmp_path / "fake.umtn")
    data = Dataset.open(tinydata.make(tmp_path / "data", player.sample_rate, 6.0))
    found = cost(player, player.domains[0], Material.choose(data, 0.0, 5.0, ("saw",)))
    assert 0 < found["rtf"] < 20
    block = player.bundle.manifest.block  # type: ignore[attr-defined]
    assert found["parameters"] > block**2  # the encoder's matrix
    assert found["mac_per_s"] == pytest.approx(block * player.sample_rate)  # that matrix, once a block
