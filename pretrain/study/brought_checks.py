"""Whether a table of results that somebody brings has the columns that are asked for, and each seed once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pretrain.config.counts import counted, some
from pretrain.config.fields import ConfigError, Faults
from pretrain.config.metrics import IN_COMMON, OF_CHANCE
from pretrain.config.suggestions import suggestion
from pretrain.study import values
from pretrain.study.brought_arms import ARM, Names
from pretrain.study.brought_columns import parted
from pretrain.study.summary import OF_A_TRIAL

if TYPE_CHECKING:
    from pretrain.study.brought import Asked
_OWN = "is a name that tables of trials have themselves; rename the column"


def plain(name: str) -> str:
    """Returns a column's name without what would make it a field of a run, whose values have words of their own."""
    return name.rpartition(".")[2] or name if name.startswith(("finetune.", "pretrain.")) else name


def check_columns(table: pa.Table, asked: Asked) -> dict[str, str]:
    """Returns the columns whose values are keys, with the option that names each.

    Raises:
      ConfigError: one is not there, has several parts, or a name that the table of trials has itself.
    """
    faults, names, is_wide = Faults(), table.column_names, asked.is_wide(table.column_names)
    fields = {"pair": asked.pair, "by": asked.by, "datasets": (asked.datasets,), "example": (asked.example,)}
    fields["where"] = tuple(parted(text, names)[0] for text in asked.where)
    sides = {"treatment": asked.treatment, "baseline": (asked.baseline,)}
    field = ""
    if is_wide:
        fields |= sides
    else:
        fields["value"] = (asked.value,)
        field = _field(names, asked, faults)
        if not asked.value:
            faults.append(ConfigError("value", "", f"names no column; give one of {some(names, 9)}"))
    if not asked.treatment:
        faults.append(ConfigError("treatment", "", "names no arm; give one or several"))
    if asked.example and not asked.pair:
        faults.append(ConfigError("example", asked.example, "takes the column of seeds, too; name it by --pair"))
    for option, named in fields.items():
        for name in named:
            if name not in names and (name or option in ("pair", "by", "where")):
                near = suggestion(name, names, f"it has {some(names, 9)}")
                faults.append(ConfigError(option, name, f"is no column of the table; {near}"))
    if is_wide and (twice := [name for name, n in Counter((*asked.treatment, asked.baseline)).items() if n > 1]):
        faults.append(ConfigError("baseline", twice[0], "is named twice; compare different arms"))
    _check_own(asked, field, is_wide, faults)
    fields["treatment"] = (field,) if field else asked.treatment
    fields["baseline"] = () if field else (asked.baseline,)
    roles: dict[str, list[str]] = {}
    for option in ("treatment", "baseline", "pair", "by", "datasets", "example", "value"):
        for name in {*filter(None, fields.get(option, ()))}:
            roles.setdefault(name, []).append(option)
    for name, several in roles.items():
        if len(several) > 1 and set(several) not in ({"by", "datasets"}, {"treatment", "baseline"}):
            faults.append(ConfigError(several[1], name, f"is the column of --{several[0]}, too; name another"))
    faults.check()
    keys = {
        name: option for option in ("where", "example", "pair", "datasets", "by") for name in fields[option] if name
    }
    return keys | ({field: "treatment"} if field else {})


def _field(names: list[str], asked: Asked, faults: Faults) -> str:
    """Returns the column of the arms in rows; nothing where arms have none."""
    arms = (*asked.treatment, asked.baseline)
    fields = list(dict.fromkeys(parted(text, names)[0] for text in arms if "=" in text))
    if without := [text for text in arms if "=" not in text]:
        option = "baseline" if without[0] == asked.baseline else "treatment"
        remedy = f"is no COLUMN=VALUE, as other arms are; write {fields[0]}={without[0]}"
        faults.append(ConfigError(option, without[0], remedy))
        return ""
    if len(fields) > 1:
        remedy = f"and {fields[-1]!r} are two columns; name values of one, the rest by --where or --by"
        faults.append(ConfigError("treatment", fields[0], remedy))
        return ""
    if fields[0] in names:
        return fields[0]
    near = suggestion(fields[0], names, f"it has {some(names, 9)}")
    remedy = f"is no column of the table; write COLUMN=VALUE, or of a wide table columns; {near}"
    faults.append(ConfigError("treatment", fields[0], remedy))
    return ""


def _check_own(asked: Asked, field: str, is_wide: bool, faults: Faults) -> None:
    """Checks that columns of arms and conditions have no name that a table of trials has itself, and differ."""
    measure = values.measure_of(asked.value or "value")
    of_value = [f"{split}_{measure}" for split in ("test", "validation")]
    ends = (*OF_CHANCE, IN_COMMON)
    own = {*OF_A_TRIAL, "status", *of_value, *(f"{name}{end}" for name in (*of_value, "test") for end in ends)}
    if field and plain(field) in own:
        faults.append(ConfigError("treatment", field, _OWN))
    own.add(ARM if is_wide else plain(field))
    for name in dict.fromkeys(asked.conditions):
        if plain(name) in own and name != field:
            faults.append(ConfigError("by", name, _OWN))
        own.add(plain(name))


def check_once(
    table: pa.Table, keys: tuple[np.ndarray, ...], place: np.ndarray, names: Names, asked: Asked, times: int
) -> None:
    """Checks that no arm has a seed twice, of the same example; names a column in which they differ."""
    order = np.lexsort(keys[::-1])
    same = np.all([key[order][1:] == key[order][:-1] for key in keys], axis=0)
    if not same.any():
        return
    at = int(np.flatnonzero(same)[0])
    first, second = order[at], order[at + 1]
    condition, arm = (int(key[first]) for key in keys[:2])
    rest = [name for name in table.column_names if name not in (*asked.conditions, *asked.pair, asked.example)]
    rest = [name for name in rest if name not in (names.field, asked.value, *names.arms)]
    apart = [name for name in rest if table[name][int(place[first])].as_py() != table[name][int(place[second])].as_py()]
    seeds = ", ".join(f"{name}={table[name][int(place[first])].as_py()}" for name in asked.pair)
    remedy = f"name the column that separates them by --by or --pair: {some(apart, 3)}" if apart else "leave one out"
    if not apart and not asked.example:
        remedy += ", or name the column of examples by --example"
    rows = f"rows {place[first] + 1:,} and {place[second] + 1:,}"
    more = f", as {counted(int(same.sum()) - 1, 'more row')}" if same.sum() > 1 else ""
    raise ConfigError("pair", seeds, f"is twice in {names.arm(arm)}{names.within(condition)} ({rows}){more}; {remedy}")
