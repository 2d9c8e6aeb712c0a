"""The paper's decoder: a WaveNet that draws one mu-law sample after the other, conditioned on the latent.

Training is teacher-forced and parallel (`logits`); playing is sequential (`decode_step`), with the past of
every dilated layer in a ring. A `guided` one is told, sample by sample, the class of a sound that it may follow: the
embedding has a second half for it. And its past leans on that sound: what it hears of itself is a blend of its draw and
its guide, else the noise of its draws rings on in it.
Legend: L layer, R residual, S skip, A classes, N sample, T latent frame.
"""

from typing import Any, Callable, Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtn.model.companding import leaning, mulaw_decode, mulaw_encode
from umtn.model.decoders.base import Answer, Losses, NativeWeights, SampledDecoder
from umtn.model.pitch_encoder import PitchLatent
from umtn.model.streaming import parameters, smallest

__all__ = ["WaveNetDecoder", "draw"]

Watch = Callable[[str, Tensor], None]


def draw(logits_BA: Tensor, uniform_B: Tensor, temperature: Tensor) -> Tensor:
    """Inverse-CDF sampling: the first class whose cumulated probability passes the uniform number; -> [B].

    Class 0 is never used by `mulaw_encode` (it lies below -1), so it is never drawn.
    """
    p = torch.softmax(logits_BA / temperature, dim=1)
    passed = torch.cumsum(p, dim=1) <= uniform_B.unsqueeze(1)
    return passed.sum(dim=1).clamp(min=1, max=logits_BA.shape[1] - 1)


class WaveNetDecoder(SampledDecoder):
    """latent_BDT and uniform noise -> audio_B1N (Mor et al. 2018, section 3.2; van den Oord et al. 2016).

    State: the last class, leaning if guided (0 = silence, so that a zero state starts from silence), the ring position,
    and per layer a ring [B, R, dilation] of its past input.
    """

    leaned: Tensor  # [the guide's class, the one drawn]

    def __init__(
        self,
        latent_channels: int,
        hop: int,
        blocks: int,
        layers: int,
        residual: int,
        skip: int,
        classes: int,
        lean: float | None = None,
    ) -> None:
        """lean: how far the past leans on the guide, 0 to 1; None: there is no guide."""
        super().__init__(latent_channels, hop, needs_noise=True)
        guided = lean is not None
        self.residual, self.skip, self.classes, self.guided = residual, skip, classes, guided
        table = torch.zeros([0, 0], dtype=torch.uint8) if lean is None else leaning(classes, lean)
        self.register_buffer("leaned", table, persistent=guided)
        self.dilations: List[int] = [2**i for _ in range(blocks) for i in range(layers)]
        n = len(self.dilations)
        self.embed = nn.Embedding(2 * classes if guided else classes, residual)
        self.condition = nn.Conv1d(latent_channels, n * 2 * residual + skip, 1)
        self.dilated = nn.ModuleList(
            nn.Conv1d(residual, 2 * residual, 2, dilation=d, bias=False) for d in self.dilations
        )
        # the last layer's residual output feeds nothing: it has none
        widths = [residual + skip] * (n - 1) + [skip]
        self.output = nn.ModuleList(nn.Conv1d(residual, width, 1) for width in widths)
        self.head = nn.Conv1d(skip, skip, 1)
        self.classify = nn.Conv1d(skip, classes, 1)

    @property
    def history(self) -> int:
        """Past samples, the one just drawn included, that reach the next one."""
        return sum(self.dilations) + 1

    @property
    def receptive_field(self) -> float:
        return float("inf")  # through its own samples

    @property
    def net(self) -> "WaveNetDecoder":
        return self

    @torch.jit.unused
    def training_loss(self, z_BDT: Tensor, answer: Answer, losses: Losses) -> Tensor:
        """Nats a sample, told the past."""
        classes = mulaw_encode(answer.sound, self.classes)
        return losses.of_samples(self, z_BDT, classes, None, answer.weight)

    @torch.jit.unused
    def share_with(self, first: "WaveNetDecoder") -> None:
        """All but the biases of the conditioning, which say in every layer whose voice it is."""
        self.embed, self.dilated, self.output = first.embed, first.dilated, first.output
        self.head, self.classify = first.head, first.classify
        self.condition.weight = first.condition.weight

    @torch.jit.unused
    def native_weights(self, rate: int, layout: PitchLatent | None) -> Dict[str, NativeWeights]:
        """Its parameters, in 16 bits where they lose nothing."""
        blocks = self.dilations.count(1)
        about = {
            "hop": self.hop,
            "latent_channels": self.latent_channels,
            "kind": "wavenet",
            "blocks": blocks,
            "layers": len(self.dilations) // blocks,
            "residual": self.residual,
            "skip": self.skip,
            "classes": self.classes,
        }
        tensors = {name: smallest(value) for name, value in parameters(self).items()}
        return {"": NativeWeights(tensors, {"decoder": about}, beside_ear=False)}

    @torch.jit.unused
    def hears(self, latent_BDT: Tensor) -> Tuple[Tensor, Tensor | None, Tensor | None]:
        return latent_BDT, None, None

    @torch.jit.unused
    def sound_classes(self, audio_BN: Tensor, off: float = 0.0) -> Tensor:
        return mulaw_encode(audio_BN + off if off else audio_BN, self.classes)

    @torch.jit.unused
    def sound_of(self, drawn_BN: Tensor, state: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        return drawn_BN, []

    @torch.jit.unused
    def before(self, classes_BN: Tensor) -> Tensor:
        """The class before each sample; silence before the first."""
        return F.pad(classes_BN[:, :-1], [1, 0], value=self.classes // 2)

    @torch.jit.unused
    def lean_on(self, past_BN: Tensor, guide_BN: Tensor | None) -> Tensor:
        """The classes before each sample as the sample loop is told them: leaning on the guide's there, if any.

        Not while training: a net that learns with a leaning past takes the guide out of it again.
        """
        return past_BN if guide_BN is None else self.leaned[self.before(guide_BN), past_BN].long()

    @torch.jit.unused
    def logits(
        self,
        latent_BDT: Tensor,
        classes_BN: Tensor,
        watch: Watch | None = None,
        past_BN: Tensor | None = None,
        guide_BN: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced: logits [B, A, N] for each sample given those before it; N = T * hop.

        past_BN: what the decoder is told came before each sample (default: the truth, leaning). guide_BN: the guide's
        class at each sample.
        watch(name, x_BNC) is shown what goes into every product: "input" and "gated" of each layer, "head", "classify".
        """
        watch = watch or (lambda name, x: None)
        past = self.lean_on(self.before(classes_BN), guide_BN) if past_BN is None else past_BN
        condition = self.condition(latent_BDT).transpose(1, 2).split(self._condition_widths(), dim=2)
        h = self.embed(past)
        if guide_BN is not None:
            h = h + self.embed(guide_BN + self.classes)
        h = h.to(condition[0].dtype)  # B, N, R
        opened: List[Tensor] = []
        for i, (dilated, output) in enumerate(zip(self.dilated, self.output)):
            watch("input", h)
            w: Tensor = dilated.weight  # type: ignore[assignment]
            taps = torch.cat([w[:, :, 0], w[:, :, 1]], dim=1)
            opened.append(gated(F.linear(with_past(h, self.dilations[i]), taps), condition[i]))
            watch("gated", opened[-1])
            if i + 1 < len(self.dilations):
                after, bias = output.weight[self.skip :, :, 0], output.bias[self.skip :]  # type: ignore[index]
                h = h + F.linear(opened[-1], after, bias)
        # what all layers skip to the end is one product
        w = torch.cat([o.weight[: self.skip, :, 0] for o in self.output], dim=1)  # type: ignore[index]
        bias = torch.stack([o.bias[: self.skip] for o in self.output]).sum(dim=0)  # type: ignore[index]
        skipped = F.relu(F.linear(torch.cat(opened, dim=2), w, bias))
        watch("head", skipped)
        y = F.linear(skipped, self.head.weight[:, :, 0], self.head.bias)
        b, n, s = y.shape
        y = (y.view(b, n // self.hop, self.hop, s) + condition[-1].unsqueeze(2)).view(b, n, s)
        y = F.relu(y)
        watch("classify", y)
        return F.linear(y, self.classify.weight[:, :, 0], self.classify.bias).transpose(1, 2)

    def _condition_widths(self) -> List[int]:
        return [2 * self.residual] * len(self.dilations) + [self.skip]

    @torch.jit.export
    def init_state(self, streams: int) -> List[Tensor]:
        index = torch.zeros([streams, 1], dtype=torch.int64, device=self._anchor.device)
        state = [index, index.clone()]
        for d in self.dilations:
            state.append(self._anchor.new_zeros([streams, self.residual, d]))
        return state

    @torch.jit.unused
    def state_names(self) -> List[str]:
        return ["sample", "position", *(f"ring.{i}" for i in range(len(self.dilations)))]

    @torch.jit.export
    def sample_step(
        self,
        condition_BC: Tensor,
        uniform_B: Tensor,
        temperature: Tensor,
        state: List[Tensor],
        guide_B: Tensor | None = None,
    ) -> Tuple[Tensor, List[Tensor]]:
        """One sample: (folded conditioning, uniform number, the guide's class) -> class [B], state. Pure."""
        r, s, half = self.residual, self.skip, self.classes // 2
        h = self.embed(state[0][:, 0] + half)
        if guide_B is not None:
            h = h + self.embed(guide_B + self.classes)
        position = state[1]
        b = h.shape[0]
        new: List[Tensor] = []
        total = torch.zeros([b, s], device=h.device)
        i = 0
        for dilated, output in zip(self.dilated, self.output):
            slot = torch.remainder(position, self.dilations[i]).unsqueeze(1).expand(b, r, 1)
            ring = state[2 + i]
            past = torch.gather(ring, 2, slot)[:, :, 0]
            new.append(torch.scatter(ring, 2, slot, h.unsqueeze(2)))
            w = dilated.weight
            y = F.linear(past, w[:, :, 0]) + F.linear(h, w[:, :, 1])  # type: ignore[index]
            y = y + condition_BC[:, 2 * r * i : 2 * r * (i + 1)]
            z = torch.sigmoid(y[:, :r]) * torch.tanh(y[:, r:])
            out = F.linear(z, output.weight[:, :, 0], output.bias)  # type: ignore
            total = total + out[:, :s]
            if out.shape[1] > s:
                h = h + out[:, s:]
            i += 1
        y = F.linear(F.relu(total), self.head.weight[:, :, 0], self.head.bias) + condition_BC[:, 2 * r * i :]
        logits = F.linear(F.relu(y), self.classify.weight[:, :, 0], self.classify.bias)
        drawn = draw(logits, uniform_B, temperature)
        kept = drawn
        if guide_B is not None:
            kept = self.leaned[guide_B, drawn].long()
        return drawn, [(kept - half).unsqueeze(1), position + 1] + new

    def decode_step(
        self, latent_BDT: Tensor, noise_B1N: Tensor, temperature: Tensor, state: List[Tensor]
    ) -> Tuple[Tensor, List[Tensor]]:
        return self.say(latent_BDT, noise_B1N, temperature, state, None)

    @torch.jit.export
    def say(
        self,
        latent_BDT: Tensor,
        noise_B1N: Tensor,
        temperature: Tensor,
        state: List[Tensor],
        guide_BN: Tensor | None,
    ) -> Tuple[Tensor, List[Tensor]]:
        """`decode_step` with the guide's classes."""
        condition = self.condition(latent_BDT)
        drawn: List[Tensor] = []
        for n in range(noise_B1N.shape[2]):
            told: Tensor | None = None
            if guide_BN is not None:
                told = guide_BN[:, n]
            sample, state = self.sample_step(
                condition[:, :, n // self.hop], noise_B1N[:, 0, n], temperature, state, told
            )
            drawn.append(sample)
        return mulaw_decode(torch.stack(drawn, dim=1), self.classes).unsqueeze(1), state


class _WithPast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h_BNR: Tensor, dilation: int) -> Tensor:
        b, n, r = h_BNR.shape
        ctx.dilation = min(dilation, n)
        x = h_BNR.new_empty(b, n, 2 * r)
        x[:, : ctx.dilation, :r] = 0
        x[:, ctx.dilation :, :r] = h_BNR[:, : n - ctx.dilation]
        x[:, :, r:] = h_BNR
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        n, r = grad.shape[1], grad.shape[2] // 2
        back = grad[:, :, r:].contiguous()
        back[:, : n - ctx.dilation] += grad[:, ctx.dilation :, :r]
        return back, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BNC: Tensor, condition_BTC: Tensor) -> Tensor:
        b, n, c = x_BNC.shape
        frames, r = condition_BTC.shape[1], c // 2
        x = (x_BNC.view(b, frames, n // frames, c) + condition_BTC.unsqueeze(2)).view(b, n, c)
        gate, value = torch.sigmoid(x[..., :r]), torch.tanh(x[..., r:])
        ctx.save_for_backward(gate, value)
        ctx.frames = frames
        return gate * value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, value = ctx.saved_tensors
        b, n, r = gate.shape
        opened = grads[0] * gate
        back = opened.new_empty(b, n, 2 * r)
        back[..., :r] = opened * value * (1 - gate)
        back[..., r:] = opened * (1 - value * value)
        return back, back.view(b, ctx.frames, n // ctx.frames, 2 * r).sum(2)


def with_past(h_BNR: Tensor, dilation: int) -> Tensor:
    """[h delayed by `dilation`, h]: the two taps of a causal kernel side by side, [B, N, 2 R]."""
    return _WithPast.apply(h_BNR, dilation)  # type: ignore[no-any-return, no-untyped-call]


def gated(x_BNC: Tensor, condition_BTC: Tensor) -> Tensor:
    """sigmoid(first half) * tanh(second half) of x + condition, each frame of it held for N / T samples."""
    return _Gated.apply(x_BNC, condition_BTC)  # type: ignore[no-any-return, no-untyped-call]
