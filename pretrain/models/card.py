"""The page of an exported network."""

from collections.abc import Mapping, Sequence
from typing import Any

from pretrain.models.model import Model

_MOST_CLASSES = 20


def text(model: Model, sentence: str, layers: Sequence[Mapping[str, Any]], to: set[str]) -> str:
    """Returns the page, in the layout of a model hub."""
    raw, names = model.inputs.raw, model.classes
    more = f" and {len(names) - _MOST_CLASSES} more" * (len(names) > _MOST_CLASSES)
    shown = ", ".join(names[:_MOST_CLASSES]) + more
    rows = "a table; `config.json` lists its columns" if model.inputs.columns else "arrays"
    if raw and not model.inputs.columns:
        of = "uint8" if raw.kind == "bytes" else "numbers"
        rows = f"`[N, {', '.join(map(str, raw.shape))}]` of {of}"
    encoder = " → ".join(" ".join(str(value) for value in layer.values()) for layer in layers) or "none"
    parts = [
        "---\nlibrary_name: pretrain\ntags:\n- pretrain\n- jax\n---",
        f"# {model.name or 'A network'}",
        sentence,
        "| | |\n|---|---|\n"
        f"| encoder | {encoder} |\n| ending | {model.ending} |\n| rows | {rows} |\n"
        f"| {_heading(model)} | {shown} |",
        "Rows are scaled as training rows were: by what `config.json` holds under `inputs`.",
        '```python\nimport pretrain\n\nmodel = pretrain.load_model("path/of/this/folder")\n'
        "codes, predictions = model.encode(rows), model.predict(rows)\n```",
    ]
    if "pytorch" in to:
        parts += [
            "`model.py` is the same in PyTorch, and needs nothing but that, NumPy and safetensors. It is code, and "
            "runs when it is imported; nothing else here does.",
            '```python\nimport model  # in this folder\n\nnetwork = model.load(".")\n'
            "codes, predictions = network.encode(rows), network.predict(rows)\n```",
        ]
    if "stablehlo" in to:
        parts += [
            "`model.stablehlo` is a program from inputs `[B, D]` float32, scaled, to outputs, for any batch size.",
            '```python\nimport jax\n\nprogram = jax.export.deserialize(open("model.stablehlo", "rb").read())\n'
            "outputs = program.call(inputs)\n```",
        ]
    return "\n\n".join(parts) + "\n"


def _heading(model: Model) -> str:
    return {"classification": "classes", "multilabel": "labels"}.get(model.inputs.task, "numbers")
