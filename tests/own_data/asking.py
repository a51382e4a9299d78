"""The question about one's own data, as the command line asks it, up to the point where training would begin."""

import numpy as np
import pandas as pd

from pretrain.commands.command_line import parse
from pretrain.config import config_file
from pretrain.plan import fitting
from tests.launching import ROOT


def written(made, path):
    """Writes arrays, or columns as a table, into a file; returns its path."""
    if path.suffix == ".csv":
        pd.DataFrame(made).to_csv(path, index=False)
    else:
        np.savez(path, **made)
    return path


def arrays(rows, labels):
    return {"X": rows, "y": labels}


class Asked:
    """What a run knows of its data before it trains."""

    def __init__(self, path, *options, config="does_it_help", seeds=2):
        asked = config_file.load(ROOT / "configs" / f"{config}.py", config)
        argv = ["--data.name", str(path), "--seeds", str(seeds), *map(str, options)]
        given = parse(argv, asked, "geron", "")
        self.experiment, self.datasets, self.findings = fitting.load(given.experiment, given.chosen)

    @property
    def dataset(self):
        return next(iter(self.datasets.values()))

    def said(self, *parts, severity=None):
        """The one finding that has all the parts, as a line."""
        found = [each for each in self.findings if all(part in str(each) for part in parts)]
        assert len(found) == 1, "\n".join(map(str, self.findings))
        assert severity in (None, found[0].severity) and "\n" not in str(found[0])
        return str(found[0])

    def has(self, part):
        return any(part in str(each) for each in self.findings)
