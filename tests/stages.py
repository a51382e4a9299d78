"""Stages as a plan makes them, without one."""

from pretrain.config import PretrainConfig
from pretrain.config.fields import join_traced, split_traced
from pretrain.learn.finetune import Finetune
from pretrain.learn.phase import Phase
from pretrain.learn.readout import Readout
from pretrain.sweep.canonical import counterpart, counterparts_end_to_end


def phase(config, image_size, widths, activation, n_examples, n_classes=0, frozen_layers=None, made_before=0):
    """A greedy phase of the topmost of some layers, all of one activation; or of more, from ``frozen_layers`` up."""
    activations = (activation,) * len(widths)
    lowest = len(widths) - 1 if frozen_layers is None else frozen_layers
    if lowest == len(widths) - 1:
        counterparts = tuple(counterpart(config.objective, layer, activations) for layer in range(len(widths)))
    else:
        whole = join_traced(config, split_traced(PretrainConfig())[1]).objective
        counterparts = counterparts_end_to_end(whole, activations)
    return Phase(config, image_size, widths, activations, n_examples, counterparts, lowest, n_classes, made_before)


def finetune(config, image_size, widths, activation, n_classes, whitens=False):
    """A fine-tuning of layers of one activation."""
    return Finetune(config, image_size, widths, (activation,) * len(widths), n_classes, whitens)


def readout(config, image_size, widths, activation, n_classes, whitens=False):
    """A read-out of layers of one activation."""
    shape = (image_size, widths, (activation,) * len(widths))
    return Readout(config, *shape, n_classes, config.readout, config.labels, whitens)
