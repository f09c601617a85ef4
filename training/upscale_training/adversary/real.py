"""What counts as real: the originals, or for a share of them what a teacher made (adversarial distillation)."""

import torch
from torch import Tensor

from upscale.model import open_model
from upscale_training.errors import RecipeError
from upscale_training.losses.coarse import shrunk
from upscale_training.losses.distill import Teacher, taught_by


def mixed_real(hr: Tensor, teacher_sr: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A `share` of the batch's truths replaced by the teacher's output for the same input.

    All (N, 3, H, W). Give the result to an Adversary in place of `hr`. The generator then learns what the two have in
    common: a teacher's fault is punished where the truth has it not. `generator` is one of the CPU; whole pictures are
    drawn, so a batch of 1 holds one or the other.
    """
    chosen = torch.rand(len(hr), generator=generator) < share
    return torch.where(chosen.view(-1, 1, 1, 1).to(hr.device), teacher_sr.detach(), hr)


class Taught:
    """For `Stage.real`: a `share` of what the discriminator is told to be real is made by `teacher`, a model's name or file, of
    the student's scale or more. `clean`: the teacher sees the undegraded small picture (the stage needs `with_clean=True`).
    """

    def __init__(self, teacher: str, share: float = 0.5, clean: bool = False) -> None:
        self.teacher, self.share, self.clean = teacher, share, clean
        self._built: Teacher | None = None

    def __call__(self, lr: Tensor, hr: Tensor, clean: Tensor | None, chance: torch.Generator) -> Tensor:
        """Raises ModelError where the teacher cannot be opened, RecipeError where it sees too little."""
        seen = clean if self.clean else lr
        if seen is None:
            raise RecipeError("the teacher is to see the clean small pictures; set with_clean=True in the stage")
        if self._built is None:
            self._built = taught_by(open_model(self.teacher))
        with torch.no_grad():
            made = self._built.to(lr.device)(seen)[0].float().clamp(0, 1)
        if made.shape[-1] < hr.shape[-1]:
            raise RecipeError(f"{self.teacher} enlarges less than the student; choose a teacher of its scale or more")
        return mixed_real(hr, shrunk(made, hr.shape[-2:]), self.share, chance)
