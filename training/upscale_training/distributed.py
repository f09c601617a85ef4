"""Several processes that train one network, each on its part of every batch: `torchrun --nproc-per-node 2 -m
upscale_training run …`."""

import contextlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from upscale_training.data.feed import Share

_PATIENCE = timedelta(minutes=30)  # the others wait while the first one validates


@dataclass(frozen=True, slots=True)
class Group:
    """This process among its like. Alone it is number 0 of 1, and averaging does nothing."""

    share: Share = field(default_factory=Share)

    @property
    def leads(self) -> bool:
        """Whether this one writes and speaks for all."""
        return self.share.rank == 0

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replaces each process's gradients by the mean over all, in one exchange."""
        if self.share.world == 1 or not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.share.world
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def agreed(self, flag: bool, device: torch.device) -> bool:
        """Whether any process says yes: all must stop, roll back or retry together."""
        if self.share.world == 1:
            return flag
        answer = torch.tensor(float(flag), device=device)
        dist.all_reduce(answer, op=dist.ReduceOp.MAX)
        return bool(answer.item())

    def told(self, word: object) -> object:
        """What the leading process says, in all of them."""
        if self.share.world == 1:
            return word
        words = [word]
        dist.broadcast_object_list(words, src=0)
        return words[0]

    def wait(self) -> None:
        if self.share.world > 1:
            dist.barrier()


@contextlib.contextmanager
def joined_group(device: torch.device) -> Generator[Group]:
    """The group that torchrun's environment tells of, or this process alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Group()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Group(Share(dist.get_rank(), dist.get_world_size()))
    finally:
        dist.destroy_process_group()
