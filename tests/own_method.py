"""The method of one's own that pretrain/README.md shows."""

import re

from tests.launching import ROOT

_SECTION = (ROOT / "pretrain" / "README.md").read_text().split("### A method\n")[1].split("\n## ")[0]
SOURCE = re.findall(r"^```python\n(.*?)^```$", _SECTION, flags=re.M | re.S)[1]
KIND = "my_method.py:METHOD"


def written(path, *changed, source=SOURCE, kind=KIND):
    """Writes a file into a directory, with texts replaced; returns its kind by its path."""
    for old, new in changed:
        assert old in source
        source = source.replace(old, new)
    path.mkdir(exist_ok=True)
    (path / kind.partition(":")[0]).write_text(source)
    return f"{path}/{kind}"
