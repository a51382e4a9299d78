"""The read-out of one's own that pretrain/README.md shows."""

import re

from tests.launching import ROOT

_SECTION = (ROOT / "pretrain" / "README.md").read_text().split("### A read-out\n")[1].split("\n## ")[0]
SOURCE = re.search(r"^```python\n(.*?)^```$", _SECTION, flags=re.M | re.S)[1]
KIND = "my_readout.py:METHOD"


def written(path, *changed):
    """Writes the file into a directory, with texts replaced; returns its kind by its path."""
    source = SOURCE
    for old, new in changed:
        assert old in source
        source = source.replace(old, new)
    path.mkdir(exist_ok=True)
    (path / "my_readout.py").write_text(source)
    return f"{path}/{KIND}"
