"""The network of this folder in PyTorch: ``network = load(folder)``.

Unlike the other files of the folder this one is code, and runs when it is imported. It needs PyTorch, NumPy and
safetensors. Weights are those of ``model.safetensors`` in PyTorch's layout: kernels [out, in, *window], and what
follows a convolution reads its channels first.
"""

import json
import pathlib

import numpy
import torch
from safetensors.numpy import load_file
from torch import nn

ACTIVATIONS = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOLINGS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MOST_NEIGHBOURS = (1, 3, 5, 9, 15, 25)
TREES = ("feature", "threshold", "left", "right", "value", "baseline")  # arrays of nodes, and the sums before them
STEP = 255.0
MARKS = ("?", "-", "na", "n/a", "nan", "null", "none", "#n/a", "#n/a n/a", "#na", "-nan", "<na>", "-1.#ind", "1.#ind")
MARKS = (*MARKS, "-1.#qnan", "1.#qnan")  # texts of missing numbers


class Same(nn.Module):
    """Zeros around an example so that a window at every stride fits: one more after it where their number is odd."""

    def __init__(self, window, stride):
        super().__init__()
        self.window, self.stride = window, stride

    def forward(self, values):
        pads = []
        for size, window in zip(reversed(values.shape[2:]), reversed(self.window), strict=True):
            total = max((-(-size // self.stride) - 1) * self.stride + window - size, 0)
            pads += [total // 2, total - total // 2]
        return nn.functional.pad(values, pads)


def convolution(weights, prefix, stride, padding=None):
    """A convolution, by default with SAME padding."""
    kernel = weights[f"{prefix}.kernel"]  # [*window, in, out]
    n_axes = kernel.ndim - 2
    layer = CONVOLUTIONS[n_axes](kernel.shape[-2], kernel.shape[-1], kernel.shape[:-2], stride, padding or 0)
    assign(layer.weight, kernel.transpose(n_axes + 1, n_axes, *range(n_axes)))
    assign(layer.bias, weights[f"{prefix}.bias"])
    return nn.Sequential(Same(kernel.shape[:-2], stride), layer) if padding is None else layer


class OverChannels(nn.LayerNorm):
    """Normalisation over the channels of each position, which come first."""

    def forward(self, values):
        return super().forward(values.movedim(1, -1)).movedim(-1, 1)


def normalisation(weights, prefix, norm, n_axes, name="norm"):
    """Normalisation as a layer has it, by running averages where they are its batches'."""
    if norm == "none":
        return nn.Identity()
    scale = weights[f"{prefix}.{name}.scale"]
    if norm == "group":
        layer = nn.GroupNorm(
            next(size for size in (32, 16, 8, 4, 2, 1) if len(scale) % size == 0), len(scale), eps=1e-6
        )
    elif norm == "layer":
        layer = OverChannels(len(scale), eps=1e-6)
    else:
        layer = BATCH_NORMS[n_axes](len(scale))
        assign(layer.running_mean, weights[f"{prefix}.batch_stats.{name}.mean"])
        assign(layer.running_var, weights[f"{prefix}.batch_stats.{name}.var"])
    assign(layer.weight, scale)
    assign(layer.bias, weights[f"{prefix}.{name}.bias"])
    return layer


class Residual(nn.Module):
    """Two convolutions of window 3, each normalised, and a shortcut, projected where shapes differ."""

    def __init__(self, weights, prefix, stride, activation, norm, n_axes):
        super().__init__()
        self.activation = ACTIVATIONS[activation]()
        self.lower = convolution(weights, f"{prefix}.lower", stride)
        self.lower_norm = normalisation(weights, prefix, norm, n_axes, "lower_norm")
        self.upper = convolution(weights, f"{prefix}.upper", 1)
        self.upper_norm = normalisation(weights, prefix, norm, n_axes, "upper_norm")
        has_shortcut = f"{prefix}.shortcut.kernel" in weights
        self.shortcut = convolution(weights, f"{prefix}.shortcut", stride) if has_shortcut else nn.Identity()

    def forward(self, values):
        inner = self.activation(self.lower_norm(self.lower(values)))
        return self.activation(self.upper_norm(self.upper(inner)) + self.shortcut(values))


class Block(nn.Module):
    """A block of ResNet-18: two convolutions and a shortcut, whose normalisations are in their kernels and biases."""

    def __init__(self, weights, prefix, stride):
        super().__init__()
        self.lower = convolution(weights, f"{prefix}.conv1", stride, 1)
        self.upper = convolution(weights, f"{prefix}.conv2", 1, 1)
        has_shortcut = f"{prefix}.downsample.0.kernel" in weights
        self.shortcut = convolution(weights, f"{prefix}.downsample.0", stride, 0) if has_shortcut else nn.Identity()

    def forward(self, values):
        return torch.relu(self.upper(torch.relu(self.lower(values))) + self.shortcut(values))


def resnet18(weights, prefix):
    """ResNet-18 up to its features."""
    strides = ((1, 1), (2, 1), (2, 1), (2, 1))
    blocks = [
        Block(weights, f"{prefix}.layer{number}.{block}", stride)
        for number, pair in enumerate(strides, 1)
        for block, stride in enumerate(pair)
    ]
    stem = convolution(weights, f"{prefix}.conv1", 2, 3)
    return nn.Sequential(stem, nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Patches(nn.Module):
    """Patches, of which zeros fill the last ones, in a linear map each, with positions."""

    def __init__(self, weights, prefix):
        super().__init__()
        self.window = weights[f"{prefix}.kernel"].shape[:-2]
        self.embedding = convolution(weights, prefix, self.window, 0)
        self.positions = nn.Parameter(tensor(numpy.moveaxis(weights[f"{prefix}.positions"], -1, 0)))

    def forward(self, values):
        lacking = [-size % length for size, length in zip(values.shape[2:], self.window, strict=True)]
        values = nn.functional.pad(values, [pad for lack in reversed(lacking) for pad in (0, lack)], value=-0.0)
        tokens = self.embedding(values) + self.positions
        present = are_present(values)
        return tokens if present is None else marked(tokens, present.unflatten(1, (-1, self.window[0])).any(dim=2))


class Attention(nn.Module):
    """A block of attention and a perceptron, each behind a norm and beside a shortcut."""

    def __init__(self, weights, prefix, heads):
        super().__init__()
        self.heads, layers = heads, ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        self.qkv, self.proj, self.fc1, self.fc2 = (linear(weights, f"{prefix}.{name}") for name in layers)
        self.norm1, self.norm2 = (layer_norm(weights, f"{prefix}.{name}") for name in ("norm1", "norm2"))

    def forward(self, values):
        tokens, present = values.flatten(2).transpose(1, 2), are_present(values)
        joint = self.qkv(self.norm1(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if present is None else present[:, None, None]
        found = nn.functional.scaled_dot_product_attention(*joint, attn_mask=mask)
        tokens = tokens + self.proj(found.transpose(1, 2).flatten(2))
        tokens = tokens + self.fc2(nn.functional.gelu(self.fc1(self.norm2(tokens))))
        return marked(tokens.transpose(1, 2).reshape(values.shape), present)


class Norm(nn.Module):
    """The norm of each token's units."""

    def __init__(self, weights, prefix):
        super().__init__()
        self.norm = layer_norm(weights, prefix)

    def forward(self, values):
        return marked(self.norm(values.movedim(1, -1)).movedim(-1, 1), are_present(values))


class Mean(nn.Module):
    """The mean over positions, of series those that are no padding."""

    def forward(self, values):
        present = are_present(values)
        sums = values.flatten(2).sum(dim=2)
        return sums / (values[0, 0].numel() if present is None else present.sum(dim=1, keepdim=True).clamp(min=1))


def are_present(values):
    """Which steps of series [N, C, T] are not padding, which negative zeros mark; None of other values."""
    return ((values != 0) | ~values.signbit()).any(dim=1) if values.ndim == 3 else None


def marked(tokens, present):
    return tokens if present is None else torch.where(present[:, None], tokens, -0.0)


def linear(weights, prefix):
    layer = nn.Linear(*weights[f"{prefix}.kernel"].shape)
    assign(layer.weight, weights[f"{prefix}.kernel"].T)
    assign(layer.bias, weights[f"{prefix}.bias"])
    return layer


def layer_norm(weights, prefix):
    layer = nn.LayerNorm(len(weights[f"{prefix}.scale"]), eps=1e-6)
    assign(layer.weight, weights[f"{prefix}.scale"])
    assign(layer.bias, weights[f"{prefix}.bias"])
    return layer


def assign(parameter, array):
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(numpy.array(array, order="C")))


def channels_first(array, shape):
    """Rows of an array [H · W · C, ...] in the order of [C, H, W]; as they are where codes are vectors."""
    if len(shape) < 2:
        return array
    return numpy.moveaxis(array.reshape(*shape, *array.shape[1:]), len(shape) - 1, 0).reshape(array.shape)


class Network(nn.Module):
    """The network; ``forward`` takes inputs [N, D], scaled, to outputs [N, outputs]."""

    def __init__(self, config, weights):
        super().__init__()
        self.config, self.inputs = config, config["inputs"]
        shape = tuple(config["example_shape"])
        if config["layers"] and config["layers"][0]["kind"] != "dense" and len(shape) == 3 and shape[1] == 1:
            weights = {name: of_series(name, array) for name, array in weights.items()}
            shape = (shape[0], shape[2])  # steps and channels
        if not config["layers"] or config["layers"][0]["kind"] == "dense":
            shape = (int(numpy.prod(shape)),)
        self.shape, layers = shape, []
        for number, layer in enumerate(config["layers"]):
            prefix = f"encoder.layers_{number}"
            if layer["kind"] == "dense":
                kernel = channels_first(weights[f"{prefix}.kernel"], shape)
                module = nn.Linear(*kernel.shape)
                assign(module.weight, kernel.T)
                assign(module.bias, weights[f"{prefix}.bias"])
                norm = normalisation(weights, prefix, layer.get("norm", "none"), 0)
                layers.append(nn.Sequential(nn.Flatten(), module, norm, ACTIVATIONS[layer["activation"]]()))
                shape = (kernel.shape[1],)
                continue
            if layer["kind"] == "residual":
                of_block = layer["stride"], layer["activation"], layer.get("norm", "group")
                module = Residual(weights, prefix, *of_block, len(shape) - 1)
            elif layer["kind"] == "resnet18":
                module = resnet18(weights, prefix)
            elif layer["kind"] == "patches":
                module = Patches(weights, prefix)
            elif layer["kind"] == "attention":
                module = Attention(weights, prefix, layer["heads"])
            elif layer["kind"] == "norm":
                module = Norm(weights, prefix)
            elif layer["kind"] == "mean":
                module = Mean()
            elif layer["kind"] == "pooling":
                module = POOLINGS[len(shape) - 1](tuple(layer["window"] if size > 1 else 1 for size in shape[:-1]))
            else:
                padding = layer.get("padding")  # of which a side of 1 has none
                padding = None if padding is None else tuple(padding if size > 1 else 0 for size in shape[:-1])
                inner = convolution(weights, prefix, layer["stride"], padding)
                norm = normalisation(weights, prefix, layer.get("norm", "none"), len(shape) - 1)
                module = nn.Sequential(inner, norm, ACTIVATIONS[layer["activation"]]())
            layers.append(module)
            with torch.no_grad():
                made = module.eval()(torch.zeros(1, shape[-1], *shape[:-1]))
            shape = (*made.shape[2:], made.shape[1])  # channels last, as codes are
        self.layers = nn.ModuleList(layers)
        self.register_buffer("mean", tensor(channels_first(weights["codes.mean"], shape)))
        whitens = "codes.kernel" in weights
        scale = channels_first(weights["codes.kernel" if whitens else "codes.scale"], shape)
        self.register_buffer("scale", tensor(scale))
        rows = (lambda array: array) if whitens else (lambda array: channels_first(array, shape))
        if config["ending"] == "knn":
            codes = weights["voters.codes"]
            codes = codes if whitens else channels_first(numpy.ascontiguousarray(codes.T), shape).T
            self.register_buffer("voters", tensor(codes))
            self.register_buffer("labels", tensor(weights["voters.labels"]))
            self.count = int(weights["neighbours.count"])
        elif config["ending"] == "trees":
            places = numpy.argsort(rows(numpy.arange(len(weights["codes.mean"]))))
            for name in TREES:
                array = weights[f"trees.{name}"]
                self.register_buffer(name, tensor(places[array] if name == "feature" else array))
        else:
            kernel = rows(weights["head.kernel"])
            self.head = nn.Linear(*kernel.shape)
            assign(self.head.weight, kernel.T)
            assign(self.head.bias, weights["head.bias"])

    def forward(self, inputs):
        codes = self.codes(inputs).flatten(1) - self.mean
        codes = codes @ self.scale if self.scale.ndim == 2 else codes * self.scale
        return {"knn": self.votes, "trees": self.sums}.get(self.config["ending"], self.linear)(codes)

    def linear(self, codes):
        return self.head(codes)

    def sums(self, codes):
        """Sums of the leaves that codes come to, in a tree for each iteration and output."""
        total, columns = self.baseline.expand(len(codes), -1), torch.arange(len(codes), device=codes.device)
        for nodes in zip(*(getattr(self, name) for name in TREES[:-1]), strict=True):
            below, place = torch.zeros(len(self.baseline), len(codes), dtype=torch.int64, device=codes.device), None
            while place is None or not torch.equal(below, place):
                place = below
                feature, threshold, left, right, value = (each.gather(1, place) for each in nodes)
                below = torch.where(codes[columns, feature] <= threshold, left, right).long()
            total = total + value.T
        return total

    def codes(self, inputs):
        """Codes of inputs [N, D], scaled: [N, units], or [N, C, *sides]."""
        values = inputs.reshape(len(inputs), *self.shape)
        if len(self.shape) > 1:
            values = values.movedim(-1, 1)
        for layer in self.layers:
            values = layer(values)
        return values

    def votes(self, codes):
        """Shares of the nearest voters' votes, a little more for the nearest; or means of their labels or numbers."""
        middle = self.voters.mean(dim=0)
        voters, codes = self.voters - middle, codes - middle
        most = max(count for count in MOST_NEIGHBOURS if count <= len(voters))
        near = torch.topk(2 * codes @ voters.T - voters.square().sum(dim=1), most, dim=1).indices
        labels = self.labels[near]
        votes = (torch.arange(most, device=codes.device) < self.count).to(codes.dtype)
        if self.config["task"] != "classification":
            labels = labels if self.config["task"] == "regression" else torch.nan_to_num(2 * labels - 1, nan=0.0)
            return (labels * votes[:, None]).sum(dim=1) / self.count
        cast = nn.functional.one_hot(labels.long(), len(self.config["classes"])) * votes[:, None]
        places = torch.arange(most, device=codes.device)[:, None].expand_as(cast[0])
        first = torch.where(cast > 0, places, most).amin(dim=1)
        return cast.sum(dim=1) / self.count - first / (most + 1) / self.count

    def encode(self, rows):
        """Codes of raw rows: [N, units], or [N, *sides, C] of a convolution, as an array."""
        with torch.no_grad():
            codes = self.codes(self.read(rows))
        codes = codes.movedim(1, -1) if codes.ndim > 2 else codes
        if codes.ndim == 3:  # of series, which have a side of 1
            codes = codes[:, :, None]
        return codes.cpu().numpy()

    def predict(self, rows):
        """Predictions of raw rows: classes, integers or names; labels of 0 and 1; or numbers in their units."""
        with torch.no_grad():
            outputs = self(self.read(rows)).cpu().numpy()
        if self.config["task"] == "classification":
            return labels_of(self.config["classes"])[outputs.argmax(axis=1)]
        if self.config["task"] == "multilabel":
            return (outputs > 0).astype(numpy.int8)
        units = self.inputs["units"]
        numbers = outputs.astype(float) * numpy.array(units["deviation"]) + numpy.array(units["mean"])
        return numbers[:, 0] if numbers.shape[1] == 1 else numbers

    def read(self, rows):
        """Raw rows as the encoder reads them: [N, D] float32; of a table a dictionary of its columns."""
        raw, scaling = self.inputs["raw"], self.inputs["scaling"]
        if isinstance(rows, dict):
            rows = table(rows, self.inputs["columns"], self.inputs["data"]["missing"])
        values = torch.as_tensor(numpy.asarray(rows))
        if list(values.shape[1:]) != raw["shape"]:
            raise ValueError(
                f"rows are {list(values.shape)}; the network reads [N, {', '.join(map(str, raw['shape']))}]"
            )
        is_bytes = values.dtype == torch.uint8
        if is_bytes != (raw["kind"] == "bytes") and raw["is_read_as_bytes"]:
            raise ValueError(f"rows are {values.dtype}; the network reads {raw['kind']}")
        if raw["form"] == "series":
            values = values.movedim(raw["time"], 1)
        if raw["greyscale"] and values.shape[-1] == 3:
            grey = values.float() @ torch.tensor([0.299, 0.587, 0.114])
            values = (grey.round() if is_bytes else grey)[..., None]
        values = values.reshape(len(values), -1).double()
        if is_bytes and raw["is_read_as_bytes"]:
            return self._placed(values / STEP)
        missing = values.isnan()
        if values.isinf().any() or (missing.any() and not scaling["fill"] and not scaling["padded"]):
            raise ValueError("rows lack values, or have infinite ones, where no training row lacked any")
        if scaling["fill"]:
            values = torch.where(missing, torch.tensor(scaling["fill"]).double(), values)
        if scaling["offset"]:
            values = (values - torch.tensor(scaling["offset"]).double()) / torch.tensor(scaling["divisor"]).double()
        if scaling["kept"]:
            values = values[:, scaling["kept"]]
        values = torch.cat([values, missing[:, scaling["marked"]].double()], dim=1)
        values = values + 0.0  # negative zeros are padding
        return self._placed(torch.nan_to_num(values, nan=-0.0) if scaling["padded"] else values)

    def _placed(self, values):
        return values.float().to(self.mean.device)


def labels_of(names):
    """Classes as they are predicted: 64-bit integers where all names are whole numbers, else texts."""
    try:
        numbers = numpy.array([int(name) for name in names], numpy.int64)
    except (ValueError, OverflowError):
        return numpy.array(names)
    return numbers if [str(number) for number in numbers] == list(names) else numpy.array(names)


def of_series(name, kernel):
    """A kernel [steps, 1, in, out], or positions, without their side of 1; other arrays as they are."""
    return kernel[:, 0] if (name.endswith("kernel") and kernel.ndim == 4) or name.endswith("positions") else kernel


def tensor(array):
    return torch.from_numpy(numpy.array(array, order="C"))


def table(columns, records, named):
    """A dictionary of columns as numbers [N, D]: NaN where one is missing, and 0 and 1 for each category."""
    parts = []
    for record in records:
        marks = {*record["marks"], *(mark for each in named for mark in (each, *each.split(",")))}
        if record["became"] == "numbers":
            parts.append([[number(value, marks)] for value in columns[record["name"]]])
        elif record["became"] in ("0 and 1", "categories"):
            texts = [text(value, marks) for value in columns[record["name"]]]
            kept = record["categories"][1:] if len(record["categories"]) == 2 else record["categories"]
            parts.append([[float(each == category) for category in kept] for each in texts])
    return numpy.concatenate([numpy.array(part, float) for part in parts], axis=1)


def text(value, marks):
    if value is None or value != value:
        return ""
    written = str(int(value)) if isinstance(value, float) and value == round(value) else str(value).strip()
    return "" if written in marks else written


def number(value, marks):
    written = text(value, marks)
    if not written or written.lower() in MARKS:
        return float("nan")
    return float("nan") if float(value) in {float(mark) for mark in marks if is_number(mark)} else float(value)


def is_number(mark):
    try:
        return float(mark) == float(mark)
    except ValueError:
        return False


def load(folder="."):
    """The network of a folder, ready to use."""
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Network(config, load_file(folder / "model.safetensors")).eval()
