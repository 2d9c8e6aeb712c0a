"""A tiny bundle, built by hand with onnx.helper: smoothing encoder, two decoders, all with state.

    encoder     y[n] = a x[n] + (1 - a) y[n-1]        latent = y, one frame a block
    decoder 0   y[n] = (z[n] + z[n-1]) / 2            exact, half a sample late
    decoder 1   y[n] = tanh(2 z[n]) / 2 + s (noise[n] - 1/2) + z[n - block] / 4

The probe is computed by numpy from these lines, not by ONNX Runtime, so that an engine can be wrong.
`identity=True` makes encoder and decoder 0 pass the signal through unchanged.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.bundle.bundle import Domain, Graph, Manifest, Port, Probe, State, write_bundle

__all__ = ["write_fake_bundle"]

PROBE_BLOCKS = 6
NOISE_LEVEL = 0.02


def _model(
    name: str, nodes: list, inputs: list[tuple], outputs: list[tuple], constants: dict[str, np.ndarray]
) -> bytes:
    """Serialised single-graph model; inputs and outputs as (name, shape)."""

    def info(pair: tuple) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(pair[0], TensorProto.FLOAT, list(pair[1]))

    initializers = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(
        nodes, name, [info(i) for i in inputs], [info(o) for o in outputs], initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _encoder(block: int, a: float) -> tuple[bytes, tuple[State, ...]]:
    n = np.arange(block)
    lag = n[None, :] - n[:, None]  # [input, output]
    matrix = np.where(lag >= 0, a * (1 - a) ** np.maximum(lag, 0), 0).astype(np.float32)
    powers = ((1 - a) ** (n + 1)).astype(np.float32)[None, None]
    nodes = [
        helper.make_node("MatMul", ["audio", "matrix"], ["driven"]),
        helper.make_node("Mul", ["pole.y", "powers"], ["ringing"]),
        helper.make_node("Add", ["driven", "ringing"], ["y"]),
        helper.make_node("Slice", ["y", "last", "end", "axis"], ["next.pole.y"]),
        helper.make_node("Reshape", ["y", "latent_shape"], ["latent"]),
    ]
    constants = {
        "matrix": matrix, "powers": powers, "last": np.array([block - 1]), "end": np.array([block]),
        "axis": np.array([2]), "latent_shape": np.array([1, block, 1]),
    }  # fmt: skip
    shape = (1, 1, 1)
    data = _model("encoder", nodes, [("audio", (1, 1, block)), ("pole.y", shape)],
                  [("latent", (1, block, 1)), ("next.pole.y", shape)], constants)  # fmt: skip
    return data, (State("pole.y", "next.pole.y", shape, "float32", 0.0),)


def _mean_decoder(block: int, own: float) -> tuple[bytes, tuple[State, ...]]:
    """y[n] = own z[n] + (1 - own) z[n-1]"""
    nodes = [
        helper.make_node("Reshape", ["latent", "audio_shape"], ["z"]),
        helper.make_node("Concat", ["tap.z", "z"], ["both"], axis=2),
        helper.make_node("Slice", ["both", "zero", "block", "axis"], ["before"]),
        helper.make_node("Slice", ["both", "block", "after", "axis"], ["next.tap.z"]),
        helper.make_node("Mul", ["z", "own"], ["now"]),
        helper.make_node("Mul", ["before", "rest"], ["then"]),
        helper.make_node("Add", ["now", "then"], ["audio"]),
    ]
    constants = {
        "audio_shape": np.array([1, 1, block]), "zero": np.array([0]), "block": np.array([block]),
        "after": np.array([block + 1]), "axis": np.array([2]),
        "own": np.float32([own]), "rest": np.float32([1 - own]),
    }  # fmt: skip
    shape = (1, 1, 1)
    data = _model("mean", nodes, [("latent", (1, block, 1)), ("tap.z", shape)],
                  [("audio", (1, 1, block)), ("next.tap.z", shape)], constants)  # fmt: skip
    return data, (State("tap.z", "next.tap.z", shape, "float32", 0.0),)


def _bright_decoder(block: int) -> tuple[bytes, tuple[State, ...]]:
    nodes = [
        helper.make_node("Reshape", ["latent", "audio_shape"], ["z"]),
        helper.make_node("Mul", ["z", "two"], ["driven"]),
        helper.make_node("Tanh", ["driven"], ["bent"]),
        helper.make_node("Mul", ["bent", "half"], ["tone"]),
        helper.make_node("Sub", ["noise", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "level"], ["breath"]),
        helper.make_node("Mul", ["echo.z", "quarter"], ["echo"]),
        helper.make_node("Add", ["tone", "breath"], ["sum"]),
        helper.make_node("Add", ["sum", "echo"], ["audio"]),
        helper.make_node("Identity", ["z"], ["next.echo.z"]),
    ]
    constants = {
        "audio_shape": np.array([1, 1, block]), "two": np.float32([2]), "half": np.float32([0.5]),
        "quarter": np.float32([0.25]), "level": np.float32([NOISE_LEVEL]),
    }  # fmt: skip
    shape = (1, 1, block)
    data = _model("bright", nodes, [("latent", (1, block, 1)), ("noise", shape), ("echo.z", shape)],
                  [("audio", shape), ("next.echo.z", shape)], constants)  # fmt: skip
    return data, (State("echo.z", "next.echo.z", shape, "float32", 0.0),)


def _probe(block: int, a: float, own: float, ids: tuple[str, str], blocks: int) -> dict[str, np.ndarray]:
    """Sample by sample in float64."""
    random = np.random.default_rng(1)
    audio = random.uniform(-0.5, 0.5, blocks * block)
    noise = random.random(blocks * block)
    z, y = np.zeros_like(audio), 0.0
    for n, x in enumerate(audio):
        y = a * x + (1 - a) * y
        z[n] = y
    before = np.concatenate([[0.0], z[:-1]])
    echo = np.concatenate([np.zeros(block), z])[: len(z)]
    arrays = {
        "audio": audio,
        "noise": noise,
        "latent": z.reshape(blocks, block).T,
        f"audio.{ids[0]}": own * z + (1 - own) * before,
        f"audio.{ids[1]}": np.tanh(2 * z) / 2 + NOISE_LEVEL * (noise - 0.5) + echo / 4,
    }
    return {key: np.ascontiguousarray(value, np.float32) for key, value in arrays.items()}


def write_fake_bundle(
    path: Path | str,
    sample_rate: int = 24000,
    block: int = 128,
    ids: tuple[str, str] = ("strings", "piano"),
    identity: bool = False,
    wrong_probe: bool = False,
) -> Path:
    """Write the bundle and return its path."""
    a, own = (1.0, 1.0) if identity else (0.5, 0.5)
    graphs, files = {}, {}
    encoder, encoder_states = _encoder(block, a)
    audio, latent = Port("audio", (1, 1, block)), Port("latent", (1, block, 1))
    files["encoder.onnx"] = encoder
    graphs["encoder.onnx"] = Graph("encoder.onnx", "", (audio,), (latent,), encoder_states)
    for id, (data, states), inputs in (
        (ids[0], _mean_decoder(block, own), (latent,)),
        (ids[1], _bright_decoder(block), (latent, Port("noise", (1, 1, block)))),
    ):
        name = f"decoders/{id}.onnx"
        files[name] = data
        graphs[name] = Graph(name, "", inputs, (audio,), states)
    probe = _probe(block, a, own, ids, PROBE_BLOCKS)
    if wrong_probe:
        probe[f"audio.{ids[1]}"][block + 3] += 0.01
    packed = io.BytesIO()
    np.savez(packed, **probe)
    files["probe.npz"] = packed.getvalue()
    manifest = Manifest(
        name="fake", preset="fake", licence="CC0-1.0", notes="built by hand for the tests",
        sample_rate=sample_rate, block=block, hop=block, latent_channels=block, latency_samples=0,
        domains=tuple(Domain(id, id.capitalize(), f"decoders/{id}.onnx") for id in ids),
        encoder="encoder.onnx", graphs=graphs, files={}, probe=Probe(PROBE_BLOCKS, 1e-4),
    )  # fmt: skip
    write_bundle(path, manifest, files)
    return Path(path)


if __name__ == "__main__":
    import sys

    print(write_fake_bundle(sys.argv[1]))
