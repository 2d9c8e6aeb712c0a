"""The page: whole in itself, every part there, small enough, and honest markup."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.umtn import tinydata
from tests.umtn.evaluation.test_evaluate import Oracle, run
from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.evaluation import html_report as page_module
from umtn.evaluation.evaluate import evaluate
from umtn.evaluation.examples import CLIP_S, examples
from umtn.evaluation.html_report import page, roll_svg, spectrogram_svg, write_page
from umtn.evaluation.material import Material

VOID = {"meta", "image", "rect", "img", "br"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed wrongly; collects names and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Material]:
    data = Dataset.open(tinydata.make(tmp_path_factory.mktemp("data")))
    material = Material.choose(data, 0.0, 10.0, ("saw", "saw+room"))
    player = Oracle(material)
    player.name = "<oracle> & co"
    report = evaluate(player, material)
    shown = examples(player, material, player.domains, dict.fromkeys(player.domains, 0.02))
    return page(report, shown, material), material


def parsed(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    return parser


@pytest.mark.slow
def test_the_page_is_well_formed_and_needs_no_network(whole: tuple[str, Material]) -> None:
    text, _ = whole
    seen = parsed(text).seen
    links = [v or "" for _, attributes in seen for k, v in attributes.items() if k in ("src", "href")]
    assert links and all(link.startswith("data:") for link in links)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "&lt;oracle&gt; &amp; co" in text
    names = [name for name, _ in seen]
    assert names.count("audio") == names.count("image") == 6  # input, output, truth of two domains
    assert names.count("svg") == 12
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert "nan" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text).replace("domi" + "nan", "")


def test_the_sounds_are_short_mono_and_the_output_is_the_truth(whole: tuple[str, Material]) -> None:
    text, material = whole
    found = [base64.b64decode(x) for x in re.findall(r"data:audio/flac;base64,([A-Za-z0-9+/=]+)", text)]
    sounds = [soundfile.read(io.BytesIO(f), always_2d=True) for f in found]
    for audio, rate in sounds:
        assert rate == material.rate and audio.shape == (round(CLIP_S * rate), 1)
    made, truth = sounds[1][0][:, 0], sounds[2][0][:, 0]
    assert np.allclose(made, truth, atol=1e-4)  # the oracle plays the truth; its lag is removed


def test_model_copy_and_truth_stand_side_by_side(whole: tuple[str, Material]) -> None:
    text, _ = whole
    rows = re.findall(r'<tr class="(model|copy|truth)"><th scope="row">(.*?)</th>', text)
    first = [kind for kind, _ in rows[:3]]
    assert first == ["model", "copy", "truth"]
    assert {label for kind, label in rows if kind == "model"} == {"all", "strings", "piano"}
    assert text.count('class="matrix"') == 2


def test_a_page_that_is_too_large_is_refused(
    whole: tuple[str, Material], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "page", lambda *_: "x" * (page_module.MOST_BYTES + 1))
    with pytest.raises(UserError, match="name fewer domains"):
        write_page(tmp_path / "p.html", {}, [], whole[1])
    assert not list(tmp_path.iterdir())


def test_a_roll_shows_what_was_right_extra_and_missed() -> None:
    wanted, found = np.zeros((2, 76, 100), bool)
    wanted[32, 0:50] = True
    found[32, 25:75] = True
    seen = [
        a
        for _, a in parsed(roll_svg(wanted, found, "notes")).seen
        if a.get("class") in ("right", "extra", "missed")
    ]
    assert [(a["class"], float(a["width"] or 0)) for a in seen] == [
        ("right", pytest.approx(91.5)), ("extra", pytest.approx(91.5)), ("missed", pytest.approx(91.5))
    ]  # fmt: skip
    assert not re.findall('class="(right|extra|missed)"', roll_svg(wanted & False, found & False, "silence"))


def test_a_spectrogram_is_bright_where_the_tone_is() -> None:
    import matplotlib.image

    rate, t = 24_000, np.arange(48_000) / 24_000
    svg = spectrogram_svg((0.5 * np.sin(2 * np.pi * 632 * t)).astype(np.float32), rate, "tone")
    data = re.search(r"base64,([A-Za-z0-9+/=]+)", svg)
    assert data is not None
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(data[1])))[..., :3].sum(axis=2)
    row = int(pixels.mean(axis=1).argmax())
    assert row == pytest.approx(len(pixels) / 2, abs=3)  # 632 Hz is half-way from 50 Hz to 8 kHz in octaves


@pytest.mark.slow
def test_the_command_writes_it(tmp_path: Path) -> None:
    from dataclasses import replace

    from umtn.model import checkpoint
    from umtn.model.checkpoint import Progress
    from umtn.model.presets import preset
    from umtn.model.translator import Translator

    config = replace(preset("tiny-live"), domains=tinydata.DOMAINS)
    checkpoint.save(tmp_path / "ck", config, Translator(config).state_dict(), {}, Progress())
    data = tinydata.make(tmp_path / "data", config.sample_rate)
    out = tmp_path / "deep" / "page.html"
    run(
        "evaluate",
        tmp_path / "ck",
        "--data",
        data,
        "--html",
        out,
        "--minutes-per-source",
        0.1,
        "--sources",
        "saw",
    )
    parsed(out.read_text(encoding="utf-8"))
