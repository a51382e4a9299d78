"""Stages as a plan makes them, without one."""

from pretrain.learn.finetune import Finetune
from pretrain.learn.phase import Phase
from pretrain.sweep.canonical import counterpart


def phase(config, image_size, widths, activation, n_examples, n_classes=0, frozen_layers=None):
    """A greedy phase of the topmost of some layers, all of one activation; or of more, from ``frozen_layers`` up."""
    activations = (activation,) * len(widths)
    counterparts = tuple(counterpart(config.objective, layer, activations) for layer in range(len(widths)))
    lowest = len(widths) - 1 if frozen_layers is None else frozen_layers
    return Phase(config, image_size, widths, activations, n_examples, counterparts, lowest, n_classes)


def finetune(config, image_size, widths, activation, n_classes):
    """A fine-tuning of layers of one activation."""
    return Finetune(config, image_size, widths, (activation,) * len(widths), n_classes)
