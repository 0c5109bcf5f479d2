"""All numbers of a training run, typed and checked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

Precision = Literal["auto", "float32", "bfloat16"]
OptimizerName = Literal["adamw", "muon"]
InitParts = Literal["all", "vision"]
_NOT_NEGATIVE = (
    "seed", "weight_decay", "shift_pixels", "brightness", "contrast", "colour", "aux_weight", "pointing_weight",
    "bin_sigma",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What a training run depends on besides its demos; two runs with equal fields and demos give equal weights.

    Attributes:
        model: ``tiny_oft`` or ``tiny_openvla``. seed: of weights, order of samples, drops and augmentation.
        samples: training frames seen in all. batch_size: of one update.
        micro_batch: samples of one pass; on a CPU each pass has one thread, and as many run at once as there are cores.
        optimizer: see ``vlacache.train.optimizer``. learning_rate, weight_decay, beta1, beta2: of it.
        warmup: share of the run. clip_norm: of the whole gradient.
        ema_decay: of the averaged weights that are evaluated and shipped, per update.
        keep_shares: (progress, share) steps: from that share of the run on, so many of a view's patches are kept.
        shift_pixels: pictures are moved by up to so many pixels. brightness, contrast, colour: ranges of the jitter.
        proprio_dropout: share of samples whose proprio is zeroed, so that the model has to look.
        aux_weight, pointing_weight: of the losses of the auxiliary heads; they are not saved.
        bin_sigma: width, in bins, of the labels of a token_bins head; see ``targets.soft_labels``.
        median_labels: whether those labels lie around the median that the model itself expects instead of around the
            expert's action. Greedy decoding takes the likeliest bin. Of what an unsure model thinks possible that is
            the value which most demonstrations share exactly (standing still, full speed), and never the middle.
        pause_keep: share of the frames in which the hand stands still that an epoch shows. The likeliest bin of a
            model that is unsure is the one of standing still, which many frames share, and it never moves again;
            OpenVLA drops such frames from LIBERO's demonstrations for that reason.
        grip_repeats: times that an epoch shows each frame around a change of the gripper command. Such frames are few
            and decide the episode: of a hand that stands still with closed fingers "open" is right over the goal (one
            frame in a demonstration), "stay closed" around the object; who has not learned the first never lets go.
        turn_repeats: the same for each frame in which the hand turns about the vertical at more than half speed. They
            are 2 in 100, the rest says "do not turn", and a median that is unsure stays at that for ever: weights that
            had 57 of 100 on the wide placement turned the hand in no task at all (docs/training.md).
        init_parts: what a run with ``--init-from`` takes over: ``all`` that fits, or ``vision``, the towers and their
            projector, when the decoder has to learn an input that the trained one has learned to do without.
        eval_samples: closed-loop evaluation after so many samples, and at the end. save_steps: updates between states.
        log_steps: updates that one line of the log averages. precision: of the passes; weights are kept in float32.
    """

    model: str = "tiny_oft"
    seed: int = 0
    samples: int = 200_000
    batch_size: int = 32
    micro_batch: int = 16
    optimizer: OptimizerName = "muon"
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    warmup: float = 0.03
    clip_norm: float = 1.0
    ema_decay: float = 0.997
    keep_shares: tuple[tuple[float, float], ...] = ((0.0, 0.25), (0.75, 0.5), (0.94, 1.0))
    shift_pixels: int = 3
    brightness: float = 0.12
    contrast: float = 0.12
    colour: float = 0.06
    proprio_dropout: float = 0.1
    aux_weight: float = 1.0
    pointing_weight: float = 0.3
    bin_sigma: float = 0.0
    median_labels: bool = False
    pause_keep: float = 1.0
    grip_repeats: int = 1
    turn_repeats: int = 1
    init_parts: InitParts = "all"
    eval_samples: int = 40_000
    save_steps: int = 50
    log_steps: int = 20
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field.name}: expected a finite number, got {value}")
        counts = ("samples", "batch_size", "micro_batch", "eval_samples", "save_steps", "log_steps")
        for name in (*counts, "grip_repeats", "turn_repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"{name}: expected a number above 0, got {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")
        self._check_shares()
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer: expected adamw or muon, got {self.optimizer!r}")
        if self.init_parts not in ("all", "vision"):
            raise ValueError(f"init_parts: expected all or vision, got {self.init_parts!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision: expected auto, float32 or bfloat16, got {self.precision!r}")

    def _check_shares(self) -> None:
        if not self.keep_shares or self.keep_shares[0][0] != 0.0 or list(self.keep_shares) != sorted(self.keep_shares):
            raise ValueError(
                f"keep_shares: expected ascending (progress, share) from progress 0, got {self.keep_shares}"
            )
        if any(not (0.0 <= at < 1.0 and 0.0 < share <= 1.0) for at, share in self.keep_shares):
            raise ValueError(f"keep_shares: expected progress in [0, 1), shares in (0, 1], got {self.keep_shares}")
        if not 0.0 <= self.pause_keep <= 1.0:
            raise ValueError(f"pause_keep: expected a share in [0, 1], got {self.pause_keep}")
        for name in ("warmup", "beta1", "beta2", "ema_decay", "proprio_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}: expected 0 <= value < 1, got {getattr(self, name)}")

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return -(-self.samples // self.batch_size)

    @property
    def eval_steps(self) -> int:
        """Updates between closed-loop evaluations."""
        return max(1, self.eval_samples // self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def differences(self, other: dict[str, Any]) -> list[str]:
        """``name: stored != asked`` of every field in which a stored config differs."""
        mine = {k: _plain(v) for k, v in self.to_dict().items()}
        return [f"{k}: {_plain(other.get(k))!r} != {v!r}" for k, v in mine.items() if _plain(other.get(k)) != v]

    def override(self, words: list[str]) -> TrainConfig:
        """With ``name=value`` words of a command line applied. The model is not among them: its defaults differ.

        Raises:
            ValueError: an unknown name, a name given twice, or a value of the wrong type.
        """
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model"}
        values: dict[str, Any] = {}
        for word in words:
            name, separator, text = word.partition("=")
            if name == "model":
                raise ValueError(f"{word!r}: the model is chosen by --model")
            if not separator or name not in known:
                raise ValueError(f"{word!r}: expected name=value with a name of {sorted(known)}")
            if name in values:
                raise ValueError(f"{name}: expected it once, got it twice")
            values[name] = _parse(name, text, known[name])
        return replace(self, **values)


#: Lower case, as in YAML and on the command line of run.py.
_BOOLEANS = {"true": True, "false": False}


def _parse(name: str, text: str, like: Any) -> Any:
    """``text`` as a value of the type of ``like``."""
    try:
        if name == "keep_shares":
            return _shares(text)
        return _BOOLEANS[text.lower()] if isinstance(like, bool) else type(like)(text)
    except (ValueError, KeyError) as error:
        expected = {bool: "true or false", tuple: "progress:share,progress:share,..."}
        told = expected.get(type(like), type(like).__name__)
        raise ValueError(f"{name}: expected {told}, got {text!r}") from error


def _shares(text: str) -> tuple[tuple[float, float], ...]:
    """``0:0.25,0.7:0.5,0.9:1`` -> pairs."""
    pairs = [part.split(":") for part in text.split(",")]
    return tuple((float(at), float(share)) for at, share in pairs)


def _plain(value: Any) -> Any:
    return [list(v) if isinstance(v, tuple) else v for v in value] if isinstance(value, (list, tuple)) else value


#: Token bins: what it took to train ``tiny_openvla`` is told in docs/training.md, number by number.
TRAIN_DEFAULTS = {
    "tiny_oft": TrainConfig(),
    "tiny_openvla": TrainConfig(
        model="tiny_openvla",
        learning_rate=1.5e-3,
        keep_shares=((0.0, 0.25), (0.72, 0.5), (0.91, 1.0)),
        shift_pixels=0,
        proprio_dropout=0.0,
        bin_sigma=4.0,
        median_labels=True,
        grip_repeats=4,
        turn_repeats=8,
    ),
}
