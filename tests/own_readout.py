"""The read-out of one's own that pretrain/README.md shows."""

import functools
import re

from tests import own_method
from tests.launching import ROOT

_SECTION = (ROOT / "pretrain" / "README.md").read_text().split("### A read-out\n")[1].split("\n## ")[0]
SOURCE = re.search(r"^```python\n(.*?)^```$", _SECTION, flags=re.M | re.S)[1]
KIND = "my_readout.py:METHOD"
written = functools.partial(own_method.written, source=SOURCE, kind=KIND)
