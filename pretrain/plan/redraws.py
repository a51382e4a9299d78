"""Seeds of stages: one for all draws, or another for those of one source of variation, which are then drawn anew."""

import statistics

from pretrain.learn.randomness import VariationSource
from pretrain.learn.stage import Choices, Stage

Seed = int | tuple[int, ...]  # of all draws, or of each source
SPLIT = "SPLIT"  # source of variation that is no draw of a stage: the data's split, where each seed has its own
_ANEW = 1 << 31  # bit of seeds that draw anew; those of a run are below it, at up to 32,768 repeats


def sources(stage: Stage, n_labelled: int) -> set[VariationSource]:
    """Returns the sources of variation that a stage draws from, of a dataset with so many labelled rows."""
    subset, found = stage.rows.subset, set[VariationSource]()
    if subset and subset.method != "first" and subset.size < n_labelled:
        found.add(VariationSource.LABELS)
    if stage.stack.head is None:
        return found | {VariationSource.PRETRAINING}
    choices = stage.static.choices or Choices()
    if stage.stack.layers and (choices.encoder_init != "pretrained" or choices.fresh_layers):
        found.add(VariationSource.PRETRAINING)
    if stage.n_updates:
        found |= {VariationSource.BATCHES, *([VariationSource.HEAD] if choices.head_init == "random" else [])}
    return found


def seed_of(stage: Stage, seed: int, repeat: int) -> int:
    """Returns the seed of a stage's draws.

    Repeats share what is trained on no labels, so that only the rest has draws of its own, and some stages draw nothing
    at all.
    """
    if not stage.config.method.is_random:
        return 0
    return seed + (repeat << 16) if stage.rows.subset else seed


def redrawn(stage: Stage, seed: int, source: VariationSource, n_labelled: int) -> Seed:
    """Returns the seed of a stage that draws a source anew: the seed as it is where the stage does not draw from it.

    The encoder is that of the next seed, which other trials train, too. A stage of a single source stays in the program
    of its kind.
    """
    drawn = sources(stage, n_labelled) if stage.config.method.is_random else set()
    if source not in drawn:
        return seed
    other = seed + 1 if source == VariationSource.PRETRAINING else seed ^ _ANEW
    return other if len(drawn) == 1 else tuple(other if each == source else seed for each in VariationSource)


def usual(seed: Seed) -> int:
    """Returns the seed of most of a stage's draws."""
    return seed if isinstance(seed, int) else statistics.mode(seed)
