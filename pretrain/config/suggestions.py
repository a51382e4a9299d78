"""Names that somebody may have meant by one that is not known."""

import difflib
from collections.abc import Callable, Iterable

_FLOOR = 0.75  # likeness below which a name is another one
_PREFIX = 4  # characters that suffice as a beginning
_RATES = ("finetune.optimizer.learning_rate", "pretrain.optimizer.learning_rate")
# Names of other programs, by ours.
_ALIASES = {
    "lr": _RATES,
    "learning_rate": _RATES,
    "epochs": ("finetune.epochs", "pretrain.epochs"),
    "batch_size": ("finetune.batch_size", "pretrain.batch_size"),
    "optimizer": ("finetune.optimizer.kind", "pretrain.optimizer.kind"),
    "lr_warmup": ("finetune.optimizer.warmup_steps", "pretrain.optimizer.warmup_steps"),
    **dict.fromkeys(("seed", "n_seeds", "num_seeds"), ("seeds",)),
    **dict.fromkeys(("out", "output", "out_dir", "output_dir"), ("run_dir",)),
    "dataset": ("data.name",),
    "target": ("data.target",),
    "model": ("encoder.layers",),
}
_SCHEDULES = ("finetune.optimizer.schedule", "pretrain.optimizer.schedule")  # of any other lr_…
_DEVICE = "JAX uses the accelerator that it finds, and none under JAX_PLATFORMS=cpu; engine.gpus is of ray and slurm"
_OF_NO_FIELD = {
    **dict.fromkeys(("device", "devices", "gpu", "gpus", "cuda", "cpu"), _DEVICE),
    "version": "pip show pretrain has it, and a run's answer.json those that made it",
}


def suggestion(name: str, names: Iterable[str], otherwise: str, shown: Callable[[str], str] = repr) -> str:
    """Returns a question after the names that may be meant, or a clause where none is near.

    Args:
      name: an unknown one.
      names: those that are known.
      otherwise: the clause.
      shown: from a name to its text.
    """
    known = list(names)
    written = name.replace("-", "_")
    section, _, last = written.rpartition(".")
    meant = _ALIASES.get(last, _SCHEDULES if last.startswith("lr_") else ())
    meant = tuple(each for each in meant if each.startswith(f"{section}." if section else ""))
    found = [each for each in meant if each in known]
    if not found and (near := nearest(name, known)):
        found = [near]
    return f"did you mean {' or '.join(map(shown, found))}?" if found else otherwise


def of_options(name: str, names: Iterable[str]) -> str:
    """Returns the same of an option, given without its dashes."""
    written = name.replace("-", "_")
    otherwise = _OF_NO_FIELD.get(written, "--help lists them")
    known = [] if written in _OF_NO_FIELD else list(names)
    return suggestion(written, known, otherwise, lambda option: f"--{option.replace('_', '-')}")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Returns the name most like the given one, by its last part first; None where all are other names."""
    section, _, last = name.rpartition(".")

    def likeness(other: str) -> tuple[float, float]:
        whole = difflib.SequenceMatcher(None, name, other).ratio()
        its_section, _, its_last = other.rpartition(".")
        of_lasts = difflib.SequenceMatcher(None, last, its_last).ratio()
        if len(last) >= _PREFIX and its_last.startswith(last):
            of_lasts = max(of_lasts, _FLOOR)
        # A section in common says nothing.
        return of_lasts if section == its_section else max(whole, of_lasts), whole

    best = max(names, key=likeness, default=None)
    return best if best is not None and likeness(best)[0] >= _FLOOR else None
