"""A mistake in a config or an option is reported at once: nothing that reports it waits for JAX."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "program",
    [
        "import pretrain.config",
        "import pretrain.config.checks, pretrain.config.grids, pretrain.config.layers, pretrain.config.methods",
        "import pretrain.commands.command_line",
        "import pretrain.commands.launch",
        "from pretrain.config import *; from_json(to_json(Experiment(sweep=({'finetune.labels': (100, 200)},))))",
        "from pretrain.config import *; from pretrain.commands.command_line import parse\n"
        "parse(['--pretrain.method.kind', 'pca', '--encoder.layers', '9', '4'], Experiment(), 'launch.py', '')",
    ],
)
def test_configs_and_options_are_read_without_jax(program):
    heavy = "{'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'tensorflow', 'matplotlib'}"
    code = f"import sys\n{program}\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
