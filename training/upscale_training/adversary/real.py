"""What counts as real."""

import torch
from torch import Tensor


def mixed_real(hr: Tensor, teacher_sr: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Adversarial distillation: a `share` of the batch's truths replaced by the teacher's output for the same input.

    All (N, 3, H, W). Give the result to an Adversary in place of `hr`. The generator then learns what the two have in
    common: a teacher's fault is punished where the truth has it not. `generator` is one of the CPU; whole pictures are
    drawn, so a batch of 1 holds one or the other.
    """
    chosen = torch.rand(len(hr), generator=generator) < share
    return torch.where(chosen.view(-1, 1, 1, 1).to(hr.device), teacher_sr.detach(), hr)
