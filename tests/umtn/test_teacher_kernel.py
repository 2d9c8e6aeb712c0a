"""The kernel that trains WaveNet decoders, against PyTorch's float32 pass: loss and every gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from umtn.model.decoders import teacher_forcing
from umtn.model.decoders.teacher_forcing import sample_loss
from umtn.model.decoders.wavenet import WaveNetDecoder

CLIPS, FRAMES = 2, 12


def decoder(hop: int = 64, guided: bool = False) -> WaveNetDecoder:
    torch.manual_seed(5)
    return WaveNetDecoder(
        12, hop, blocks=2, layers=5, residual=32, skip=64, classes=96, lean=0.5 if guided else None
    )


@pytest.mark.parametrize("name", teacher_forcing.LEVELS)
@pytest.mark.parametrize("silent_frames, guided", [(0, False), (5, False), (5, True)])
def test_loss_and_gradients_are_those_of_pytorch(name: str, silent_frames: int, guided: bool) -> None:
    at = teacher_forcing.LEVELS[name]
    if at > teacher_forcing.kernel_level():
        pytest.skip(f"this CPU does not multiply with {name}, or there is no compiler")
    net = decoder(guided=guided)
    latent = torch.randn(CLIPS, 12, FRAMES, requires_grad=True)
    classes = torch.randint(1, 96, (CLIPS, FRAMES * 64))
    guide = torch.randint(0, 96, classes.shape) if guided else None
    past = classes.roll(1, dims=1)
    weight = torch.rand(CLIPS, FRAMES) / 64
    weight[:, :silent_frames] = 0
    weight[1, 8] = 0

    nll = F.cross_entropy(
        net.logits(latent, classes, past_BN=past, guide_BN=guide), classes, reduction="none"
    )
    wanted = (nll * weight.repeat_interleave(64, dim=1)).sum()
    wanted.backward()
    truth = {n: p.grad.clone() for n, p in net.named_parameters()} | {"latent": latent.grad.clone()}
    net.zero_grad()
    latent.grad = None

    condition = net.condition(latent).transpose(1, 2)
    ours = teacher_forcing.nats(net, condition, past, classes, weight, at, guide)
    (2 * ours).backward()
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-3)
    for n, p in [*net.named_parameters(), ("latent", latent)]:
        off = (p.grad / 2 - truth[n]).norm() / truth[n].norm()
        assert off < 0.08, f"{n}: {off:.3f} of its length off"  # bfloat16 products


@pytest.mark.skipif(not teacher_forcing.kernel_level(), reason="no kernel for this CPU, or no compiler")
def test_what_the_kernel_takes_and_what_pytorch_must() -> None:
    like = torch.zeros(1)
    assert teacher_forcing.available(decoder(), like)
    assert not teacher_forcing.available(decoder(hop=80), like)
    assert not teacher_forcing.available(decoder(), like.to("meta"))


@pytest.mark.parametrize("hop", [64, 80])  # 80: by PyTorch's products everywhere
def test_the_loss_falls_by_its_gradient(hop: int) -> None:
    net = decoder(hop)
    latent = torch.randn(CLIPS, 12, FRAMES)
    classes = torch.randint(40, 50, (CLIPS, FRAMES * hop))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    nats = []
    for _ in range(30):
        loss = sample_loss(net, latent, net.before(classes), classes, torch.ones(CLIPS, FRAMES))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        nats.append(loss.item())
    assert nats[0] > 4.2  # log(96) = 4.56: knows nothing
    assert nats[-1] < 2.7  # ten classes are left: log(10) = 2.30
