"""The seed job in PyTorch, written for speed: what `tests/bench/seed_job.py` compares `pretrain` with.

Same data, sizes, losses and measurements as `pretrain`'s. As a program it does one seed job from a cold start:

    python tests/bench/seed_job_torch.py [--compile] [--epochs 4] [--seed 0]

and prints its timings, test accuracies and reconstruction error as JSON. With `--serve` it stays, and does one job for
every line it reads.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad_and_value
from torch.nn import functional as F  # noqa: N812 - the name by which PyTorch's users know it

DATA = Path(__file__).parents[2] / "pretrain" / "data" / "mnist.npz"
PIXELS, WIDE, NARROW, CLASSES = 784, 300, 150, 10
PHASE_BATCH, TUNE_BATCH, LABELS, HELD_OUT = 150, 50, 2000, 5000
VALIDATE_AT = {1, 2, 5, 10, 20, 40}
SETTLED = 20  # updates that the time of a step leaves out, as `pretrain` returns to its host after them


class Clock:
    """Seconds by name; waits for the accelerator, if there is one."""

    def __init__(self, device):
        self.device, self.seconds = device, {}

    def now(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def load(device):
    """Returns train, validation and test (images float32 [N, 784], labels) on the device."""

    def split(images, labels):
        images = torch.from_numpy(np.ascontiguousarray(images)).to(device).reshape(len(images), -1)
        return images.float().div_(255), torch.from_numpy(labels.astype(np.int64)).to(device)

    with np.load(DATA) as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"]
        test = split(arrays["test_images"], arrays["test_labels"])
    return split(images[HELD_OUT:], labels[HELD_OUT:]), split(images[:HELD_OUT], labels[:HELD_OUT]), test


def layer(inputs, units, device):
    """Returns a linear layer with the seed's initialisation."""
    linear = nn.Linear(inputs, units, device=device)
    deviation = (1.3 * 2 / inputs) ** 0.5
    nn.init.trunc_normal_(linear.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    nn.init.zeros_(linear.bias)
    return linear


def adam(model, l2):
    """Returns Adam over what is trainable; its weight decay is the gradient of ``l2 * ½‖W‖²``."""
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    biases = [module.bias for module in model.modules() if isinstance(module, nn.Linear)]
    return torch.optim.Adam([{"params": weights, "weight_decay": l2}, {"params": biases}], lr=0.01, fused=True)


def reconstruction(model, inputs):
    return F.mse_loss(model(inputs), inputs), ()


def classification(model, inputs, labels):
    logits = model(inputs)
    return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).float().mean()


def gradients(objective, model, *batch):
    """Returns gradients by parameter, loss and accuracy; as one function of tensors, which compiles as a whole."""

    def loss(parameters):
        return objective(lambda inputs: functional_call(model, parameters, inputs), *batch)

    return grad_and_value(loss, has_aux=True)(dict(model.named_parameters()))


@torch.inference_mode()
def evaluated(function, model, *split):
    """Returns a function's values over a split; the two are small enough to go through in one piece."""
    return function(model, *split)


class SeedJob:
    """One seed's two phases and two fine-tunings, in one of two modes: eager, or compiled."""

    def __init__(self, compiled):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.train, self.validation, self.test = load(self.device)
        self.compiled = compiled
        self.gradients = torch.compile(gradients, dynamic=False) if compiled else None
        self.classification = torch.compile(classification, dynamic=False) if compiled else classification

    def update(self, objective, model, optimizer, *batch):
        """Makes one update; returns the loss and the accuracy before it."""
        if self.compiled:
            with torch.no_grad():
                found, (loss, accuracy) = self.gradients(objective, model, *batch)
            for name, parameter in model.named_parameters():
                parameter.grad = found[name]
        else:
            loss, accuracy = objective(model, *batch)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach(), accuracy

    def run(self, seed, epochs=4):
        """Does the job; returns its seconds and what it reached."""
        torch.manual_seed(seed)
        clock = Clock(self.device)
        began = clock.now()
        sizes = (PIXELS, WIDE, NARROW)
        encoder = [nn.Sequential(layer(*pair, self.device), nn.ELU()) for pair in itertools.pairwise(sizes)]
        output = layer(WIDE, PIXELS, self.device)
        middle = nn.Sequential(layer(NARROW, WIDE, self.device), nn.ELU())
        images, held_out = self.train[0], self.validation[0]

        self.phase("pretrain/0", clock, nn.Sequential(encoder[0], output), images, held_out, epochs)
        self.reconstructed(nn.Sequential(encoder[0], output))
        with torch.no_grad():
            codes = encoder[0](images), encoder[0](held_out)
        self.phase("pretrain/1", clock, nn.Sequential(encoder[1], middle), *codes, epochs)
        mse = self.reconstructed(nn.Sequential(*encoder, middle, output))

        pretrained = nn.Sequential(*encoder)
        head = layer(NARROW, CLASSES, self.device)
        with torch.no_grad():
            codes = [(pretrained(split), labels) for split, labels in (self.labelled(), self.validation)]
        self.tune("finetune frozen", clock, head, *codes, epochs)
        frozen = evaluated(classification, nn.Sequential(pretrained, head), *self.test)

        fresh = [nn.Sequential(layer(*pair, self.device), nn.ELU()) for pair in itertools.pairwise(sizes)]
        network = nn.Sequential(*fresh, layer(NARROW, CLASSES, self.device))
        self.tune("finetune trainable", clock, network, self.labelled(), self.validation, epochs)
        trainable = evaluated(classification, network, *self.test)
        return {
            "seconds": clock.now() - began,
            "step_seconds": clock.seconds,
            "test_accuracy": [frozen[1].item(), trainable[1].item()],
            "test_mse": mse[1].item(),
        }

    def labelled(self):
        return self.train[0][:LABELS], self.train[1][:LABELS]

    def reconstructed(self, stack):
        """Returns the end-to-end error on validation and test images."""
        return [evaluated(reconstruction, stack, split)[0] for split in (self.validation[0], self.test[0])]

    def phase(self, name, clock, model, inputs, held_out, epochs):
        optimizer = adam(model, 1e-4)
        per_epoch = len(inputs) // PHASE_BATCH
        losses, validation = [], []
        for step in range(epochs * per_epoch):
            if step == SETTLED:
                began = clock.now()
            if step % per_epoch == 0:
                batches = torch.randperm(len(inputs), device=self.device).split(PHASE_BATCH)
            batch = inputs[batches[step % per_epoch]]
            losses.append(self.update(reconstruction, model, optimizer, batch)[0])
            if (step + 1) % per_epoch == 0:
                validation.append(evaluated(reconstruction, model, held_out)[0])
        clock.seconds[name] = (clock.now() - began) / (step + 1 - SETTLED)
        return torch.stack(losses), torch.stack(validation)

    def tune(self, name, clock, model, examples, held_out, epochs):
        optimizer = adam(model, 5e-4)
        inputs, labels = examples
        per_epoch = LABELS // TUNE_BATCH
        losses, before, after, validation = [], [], [], []
        for step in range(1, epochs * per_epoch + 1):
            if step == SETTLED + 1:
                began = clock.now()
            rows = torch.randperm(LABELS, device=self.device)[:TUNE_BATCH]
            batch = inputs[rows], labels[rows]
            loss, accuracy = self.update(classification, model, optimizer, *batch)
            losses.append(loss)
            before.append(accuracy)
            with torch.no_grad():
                after.append(self.classification(model, *batch)[1])
            if step in VALIDATE_AT or step % per_epoch == 0:
                validation.append(torch.stack(evaluated(classification, model, *held_out)))
        clock.seconds[name] = (clock.now() - began) / (step - SETTLED)
        return [torch.stack(values) for values in (losses, before, after, validation)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    job = SeedJob(options.compile)
    if not options.serve:
        print(json.dumps(job.run(options.seed, options.epochs)))
        return
    for line in sys.stdin:
        print(json.dumps(job.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
