"""One trial's computations, as pure functions: no files, no clock, no process."""

from pretrain.learn import pytrees

pytrees.register()
