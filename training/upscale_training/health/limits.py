"""Where health ends: every measure with its limit, the reason for it, what crossing it means and what helps.

The report, the documentation and the watch read this table; it is the one place to change a limit.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["game", "pictures", "numbers"]


@dataclass(frozen=True, slots=True)
class Limit:
    """`name`: of the alarm. Alarming above `most` or below `least`, for `patience` looks in a row: at the step lines of the
    log for "game" and "numbers", at validations for "pictures". `why`: where the number comes from."""

    name: str
    kind: Kind
    meaning: str
    remedy: str
    why: str
    most: float | None = None
    least: float | None = None
    patience: int = 1

    def crossed(self, value: float) -> bool:
        """NaN crosses nothing: it was not measured."""
        return (self.most is not None and value > self.most) or (self.least is not None and value < self.least)

    def beyond(self, value: float) -> float:
        """How far a value lies on the wrong side."""
        return value - self.limit if self.most is not None else self.limit - value

    @property
    def limit(self) -> float:
        """The one that can be crossed."""
        return self.most if self.most is not None else self.least if self.least is not None else 0.0


DISCRIMINATOR_WINS = Limit(
    "discriminator wins",
    "game",
    "The discriminator tells real from made almost without fault, so the generator learns nothing from it any more.",
    "Lower the discriminator's learning rate, let it learn less often (every=2), add R1 (penalties=(r1(),)) or augmentation.",
    "In a healthy game between 55 and 90 % are told right; above 97 % the logits saturate and gradients vanish.",
    most=0.97,
    patience=5,
)
GENERATOR_WINS = Limit(
    "generator wins",
    "game",
    "The discriminator cannot tell real from made, not even by chance: what it teaches is noise.",
    "Raise the discriminator's learning rate or its size; is its weight decay or penalty too strong?",
    "Guessing gives 50 %; far below it the discriminator is systematically wrong, which means that it diverges.",
    least=0.25,
    patience=5,
)
DISCRIMINATOR_LOST = Limit(
    "discriminator is lost",
    "game",
    "The discriminator has stopped learning: it guesses, and its gradients are a fiftieth of what they were.",
    "Lower the discriminator's learning rate (a tenth) and begin again; its first steps were too large.",
    "Who guesses is right in 50 %; a discriminator that has not begun yet has small gradients too, but never had large ones.",
    least=0.54,
    patience=5,
)
NO_ADVERSARIAL_GRADIENT = Limit(
    "adversarial gradient vanishes",
    "game",
    "The adversary hardly pulls on the generator any more: its gradient is a small part of what it was at its best.",
    "Use a relativistic or least-squares game, slow the discriminator, or add R1.",
    "A thousandth of the median pull of the stage is nothing; healthy games stay within a factor of ten.",
    least=1e-3,
    patience=5,
)
MEMORIZING = Limit(
    "discriminator memorizes",
    "pictures",
    "The discriminator knows the training pictures by heart: it rates held-out originals as made.",
    "More pictures, stronger augmentation (augment=Augment()), R1, or fewer steps.",
    "30 % more of the training originals than of held-out ones are rated real, at one moment (as ADA's r_v, Karras et al. 2020).",
    most=0.30,
    patience=3,
)
LOSS_EXPLODES = Limit(
    "loss explodes",
    "numbers",
    "The generator's loss is many times what it was: the learning rate is too high, or a loss meets numbers that it cannot take.",
    "Lower the learning rate (a tenth), add warm-up, or clip gradients (clip=1.0).",
    "Ten times the best mean of the stage; noise between batches stays below three.",
    most=10.0,
    patience=2,
)
STEPS_SKIPPED = Limit(
    "steps are skipped",
    "numbers",
    "Many steps gave gradients that are no finite numbers and were left out.",
    "Use bf16 or fp32 instead of fp16, or lower the learning rate.",
    "fp16 skips one step in some hundred by design; more than a tenth means overflow that does not end.",
    most=0.10,
    patience=2,
)
WORSE = Limit(
    "pictures get worse",
    "pictures",
    "Held-out pictures are judged much worse than at the best step before.",
    "Lower the learning rate; with few pictures, stop earlier; in a game, weigh the adversary less.",
    "LPIPS 25 % above the stage's best (or PSNR 3 dB below): ordinary ups and downs are a few percent.",
    most=1.25,
    patience=2,
)
NOT_FINITE = Limit(
    "output is no number",
    "pictures",
    "The network's output for a held-out picture holds NaN or infinity.",
    "The network is lost: go back to an earlier checkpoint with a lower learning rate, in bf16 or fp32.",
    "One is too many.",
    most=0.0,
)
CONSTANT = Limit(
    "output is flat",
    "pictures",
    "The network answers pictures with one color (gray or black).",
    "Go back to an earlier checkpoint, lower the learning rate, and give the pixel term more weight.",
    "Not one held-out picture with content may come out flat.",
    most=0.0,
)
LOST_DIVERSITY = Limit(
    "diversity is lost",
    "pictures",
    "All pictures get the same few patterns: the generator has collapsed to what fools its discriminator.",
    "Weigh the adversary less, add R1, use more varied pictures, or a relativistic game with paired penalties (R3GAN).",
    "The effective rank of what is added to bicubic falls below 60 % of the truth's: known networks measure 78 to 108 %, one "
    "pattern everywhere 9 to 57 %.",
    least=0.60,
    patience=2,
)
CHECKERBOARD = Limit(
    "checkerboard",
    "pictures",
    "A grid with the period of the up-sampling shows in the pictures.",
    "Add the term grid(10.0); weigh perceptual terms and the adversary less; up-sample by nearest and convolution (RRDBNet).",
    "Peaks at the up-sampling periods stand out by 5 % of the truth's amplitude (or, if that is more, as the start's do): x4plus "
    "measures 0.97, animevideov3 1.02, transposed convolutions 1.16.",
    most=1.05,
    patience=2,
)
DRIFT = Limit(
    "colors drift",
    "pictures",
    "Results are systematically lighter, darker or of another tint than their inputs.",
    "Add the term consistency(0.1) or raise its weight; are inputs and originals in the same color space?",
    "A mean shift of 2 levels of 255 is visible side by side, but x4plus itself, where many begin, has 3.7; judged while it does "
    "not fall.",
    most=5.0,
    patience=2,
)

LIMITS: tuple[Limit, ...] = (
    DISCRIMINATOR_WINS,
    GENERATOR_WINS,
    DISCRIMINATOR_LOST,
    NO_ADVERSARIAL_GRADIENT,
    MEMORIZING,
    LOSS_EXPLODES,
    STEPS_SKIPPED,
    WORSE,
    NOT_FINITE,
    CONSTANT,
    LOST_DIVERSITY,
    CHECKERBOARD,
    DRIFT,
)
