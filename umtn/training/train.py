"""Training, top to bottom. A run that fits a laptop:

    python -m umtn render data --minutes 24
    python -m umtn train --preset live --data data --out checkpoints/live --minutes 60

WaveNet decoders that follow that model's tones, first all as one, then each on its own:

    python -m umtn guide --data data --bundle live.umtn
    python -m umtn train --preset wavenet-live --encoder checkpoints/live --data data --out checkpoints/wavenet \
        --minutes 90
    python -m umtn train --preset wavenet-live --data data --out checkpoints/wavenet --minutes 120 \
        --resume --own-decoders

(`wavenet-plain` is the same without tones: the paper's decoder behind that encoder. It needs far longer.)

New domains for a finished model, learned from pairs while everything else stays as it is:

    python -m umtn train --extend checkpoints/five --new-domains brass,mallets --data data --out checkpoints/seven \
        --minutes 30

The ear of a finished model learns on alone, then the whole model:

    python -m umtn train --extend checkpoints/live --ear --data data --out checkpoints/ear --minutes 40
    python -m umtn train --extend checkpoints/ear --whole --data data --out checkpoints/live2 --minutes 40

The same model at twice its rate, which learns the octave above from pairs at that rate and keeps all below:

    python -m umtn render data48 --rate 48000 --instruments domains
    python -m umtn train --extend checkpoints/live --rate 48000 --data data48 --out checkpoints/live48 --minutes 20

Each step does the paper's two alternating updates: the confusion network on the detached latent, then encoder
and decoders against it. `--resume` continues the same curve. On several GPUs: torchrun (Lightning Fabric).
"""

from __future__ import annotations

import math
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import lightning_fabric
import torch
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor
from tqdm import tqdm

from umtn.data.dataset import Dataset
from umtn.errors import UserError
from umtn.model import checkpoint
from umtn.model.checkpoint import Progress
from umtn.model.config import Config
from umtn.model.pitch_encoder import encoder_of
from umtn.model.translator import Translator
from umtn.training.band_extension import free_upper_band
from umtn.training.batches import BatchSource, prefetch
from umtn.training.ema import Average
from umtn.training.fine_tuning import freeze_all_but, share, take_encoder, take_guides, take_model
from umtn.training.objective import Objective

__all__ = ["Trainer", "train"]


class Trainer:
    """One run: model, optimisers, average, progress; `run` trains until the minutes are used up."""

    def __init__(
        self,
        config: Config,
        data: Dataset,
        out: Path,
        minutes: float,
        seed: int = 0,
        encoder: Path | None = None,
        extended: Path | None = None,
        whole: int | None = None,
    ) -> None:
        """whole: steps in all, with which the run ends, whatever the minutes. encoder: a checkpoint whose pitch encoder
        is taken over and left as it is. extended: one that is taken whole, and learns on as the config's training
        says: domains which are `learning`, the band above its `lower_rate`, its `ear_alone`, or all of it."""
        if encoder is not None:
            config = replace(config, training=replace(config.training, frozen_ear=True))
        self.fabric = _fabric()
        self.config, self.data, self.out, self.minutes, self.whole = config, data, out, minutes, whole
        self.progress = Progress(seed=seed, data=data.root.resolve().name, hardware=_hardware())
        torch.manual_seed(seed)
        objective = Objective(Translator(config))
        self.translator = objective.translator
        if encoder is not None:
            take_encoder(self.translator, encoder)
            take_guides(self.translator, encoder)
        if extended is not None:
            self.progress.earlier = take_model(self.translator, extended, data, seed)
        if config.training.shared:
            share(self.translator.decoders.values())  # type: ignore[arg-type]
        if config.training.ear_alone:
            objective.remember_encoder()
        self.memory = objective.before
        if config.training.ear_alone:
            freeze_all_but(self.translator, ())
            encoder_of(self.translator.encoder).requires_grad_(True)  # type: ignore[union-attr]
        elif config.training.lower_rate:
            free_upper_band(self.translator, config.training.lower_rate)
        elif config.training.learning:
            freeze_all_but(self.translator, config.training.learning)
        elif config.training.frozen_ear:
            encoder_of(self.translator.encoder).requires_grad_(False)  # type: ignore[union-attr]
        players = [*self.translator.encoder.parameters(), *self.translator.decoders.parameters()]
        players = [p for p in players if p.requires_grad]
        rate = config.training.learning_rate
        self.players = torch.optim.Adam(players, lr=rate, betas=(0.9, 0.99))
        self.critic = torch.optim.Adam(self.translator.confusion.parameters(), lr=rate)
        self.clipped = players
        self.objective, self.players, self.critic = self.fabric.setup(objective, self.players, self.critic)
        self.average = Average(self.translator, config.training.ema)

    def resume(self) -> None:
        """Continue the checkpoint in `out`; UserError when it is of another preset."""
        config, progress, averaged, state = checkpoint.load_training(self.out)
        if config.preset != self.config.preset:
            raise UserError(
                f"'{self.out}' was trained with preset '{config.preset}', not '{self.config.preset}'."
            )
        for name, part in (("raw", self.translator), ("before", self.memory)):
            if part is not None:
                held = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
                checkpoint.fit(part, held, self.out)
        self.average.load(averaged, progress.step)
        self.progress = progress
        if config.training.shared != self.config.training.shared:
            return  # other parameters: the optimisers begin anew
        for name, optimiser in (("players", self.players), ("critic", self.critic)):
            _load_moments(optimiser, state, name)

    def save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        # shared weights are written once for each decoder: whoever reads them needs to know of no sharing
        state = {f"raw.{k}": v.clone() for k, v in self.translator.state_dict().items()}
        if self.memory is not None:
            state |= {f"before.{k}": v for k, v in self.memory.state_dict().items()}
        for name, optimiser in (("players", self.players), ("critic", self.critic)):
            state |= _moments(optimiser, name)
        try:
            weights = checkpoint.shipped(self.config, self.average.weights)
            checkpoint.save(self.out, self.config, weights, state, self.progress)
        except OSError as error:
            raise UserError(
                f"The checkpoint could not be written to '{self.out}': {error.strerror or error}; "
                "the one before it is whole. Free some space and go on with --resume."
            ) from None

    def _share(self) -> float:
        """Of the steps or else the minutes granted, what is used up."""
        if self.whole is not None:
            return min(1.0, self.progress.step / self.whole)
        return min(1.0, self.progress.minutes / self.minutes)

    def _rate(self) -> float:
        """Warm-up, then half a cosine over what is granted."""
        t = self.config.training
        share = self._share()
        return (
            t.learning_rate
            * min(1.0, (self.progress.step + 1) / t.warm_up_steps)
            * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share)))
        )

    def run(self, max_steps: int | None = None, save_every_s: float = 120.0) -> None:
        """Train until the minutes (or steps) are used up, saving every two minutes, at the end and on Ctrl-C."""
        device, rank = self.fabric.device, self.fabric.global_rank
        seed = self.progress.seed + 1000 * rank + self.progress.step
        batches = prefetch(iter(BatchSource(self.data, self.config, "train", seed)))
        generator = torch.Generator(device).manual_seed(seed)
        clock, saved, start, first = (
            time.monotonic(),
            time.monotonic(),
            self.progress.minutes,
            self.progress.step,
        )
        bar = tqdm(total=round(self.minutes * 60), initial=round(start * 60), unit="s", disable=rank != 0)
        smooth: dict[str, float] = {}
        try:
            while self._share() < 1 and (max_steps is None or self.progress.step < first + max_steps):
                figures = self.step(next(batches).to(device), generator)
                now = time.monotonic()
                # one clock for all ranks: they stop at the same step
                self.progress.minutes = self.fabric.broadcast(start + (now - clock) / 60)
                self._report(bar, smooth, figures, (self.progress.step - first) / (now - clock))
                if now - saved > save_every_s:
                    self.save()
                    saved = now
        except KeyboardInterrupt:
            bar.write("stopped; the checkpoint is saved and --resume continues it")
        finally:
            bar.close()
        self.save()

    def step(self, batch: object, generator: torch.Generator) -> dict[str, float]:
        for group in self.players.param_groups:
            group["lr"] = self._rate()
        loss, classifier, figures = self.objective(batch, generator)
        figures["loss"] = float(loss.detach())
        if not math.isfinite(figures["loss"]):
            raise UserError(
                f"The loss became {figures['loss']} at step {self.progress.step}; the last checkpoint is whole. "
                "Lower the learning rate and --resume."
            )
        self.players.zero_grad()
        self.critic.zero_grad()
        self.fabric.backward(loss + classifier)
        torch.nn.utils.clip_grad_norm_(self.clipped, self.config.training.clip_norm)
        self.players.step()
        self.critic.step()
        self.average.update(self.translator)
        self.progress.step += 1
        return figures

    def _report(self, bar: tqdm, smooth: dict[str, float], figures: dict[str, float], pace: float) -> None:
        for name, value in figures.items():
            if math.isfinite(value):
                smooth[name] = value if name not in smooth else 0.95 * smooth[name] + 0.05 * value
        t = self.config.training
        bar.n = min(bar.total, round(self.progress.minutes * 60))
        bar.set_postfix_str(
            f"step {self.progress.step} loss {smooth['loss']:.3f} "
            f"C {smooth.get('domain_accuracy', float('nan')):.2f} {pace * t.batch * t.seconds:.1f} audio s/s"
        )
        if self.progress.step % 20 == 0:
            row = {"step": self.progress.step, "minutes": self.progress.minutes, **smooth}
            self.progress.curve.append({k: round(v, 4) for k, v in row.items()})


def _fabric() -> lightning_fabric.Fabric:
    """Every GPU there is; on CPUs the ranks torchrun started. Which parts run in bfloat16 the objective says."""
    on_gpu = torch.cuda.is_available()
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = lightning_fabric.Fabric(
        accelerator="gpu" if on_gpu else "cpu",
        devices="auto" if on_gpu else int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        # a step trains some of the decoders: the others have no gradient in it
        strategy=DDPStrategy(find_unused_parameters=True) if ranks > 1 else "auto",
    )
    fabric.launch()
    return fabric


def _hardware() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{torch.get_num_threads()} threads of a {platform.machine()} CPU"


def _moments(optimiser: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
    found = {}
    for i, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            found[f"{name}.{i}.{key}"] = torch.as_tensor(value)
    return found


def _load_moments(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], name: str) -> None:
    full = optimiser.state_dict()
    for key, value in tensors.items():
        if key.startswith(f"{name}."):
            _, index, field = key.split(".")
            full["state"].setdefault(int(index), {})[field] = value
    optimiser.load_state_dict(full)


def train(
    config: Config,
    data: Dataset,
    out: Path,
    minutes: float,
    resume: bool,
    steps: int | None = None,
    seed: int = 0,
    encoder: Path | None = None,
    own_decoders: bool = False,
    extended: Path | None = None,
    whole: int | None = None,
) -> Trainer:
    """Train and leave a checkpoint in `out`; refuses to overwrite one that is there unless `resume`.

    steps: at most so many more. whole: so many in all, whatever the minutes. encoder: a checkpoint whose pitch encoder
    is taken and frozen. own_decoders: decoders no longer share weights.
    extended: a checkpoint that is taken whole and learns on, see `Trainer`.
    """
    there = (out / "checkpoint.json").exists()
    if there and not resume:
        raise UserError(
            f"'{out}' already holds a checkpoint; continue it with --resume or choose another --out."
        )
    if resume and not there:
        raise UserError(f"There is no checkpoint to resume in '{out}'; leave --resume out to start one.")
    known = checkpoint.read_config(out)[0] if resume else config
    begun = known.training
    # an ear that was taken is in the checkpoint, and decoders that went on alone are never made one again
    shared = config.training.shared and begun.shared and not own_decoders
    kept = {name: getattr(begun, name) for name in ("frozen_ear", "augment", "pairs", "share_paired")}
    # what was extended is of other sizes than its preset, and learns on by settings of its own
    grown = begun.extended or bool(begun.learning)  # the field is younger than some checkpoints
    settings = begun if grown else replace(config.training, shared=shared, **kept)
    config = replace(known if grown else config, training=settings)
    config = replace(config, domains=known.domains, confusion=known.confusion)
    trainer = Trainer(config, data, out, minutes, seed, encoder, extended, whole)
    if resume:
        trainer.resume()
    trainer.run(max_steps=steps)
    return trainer
