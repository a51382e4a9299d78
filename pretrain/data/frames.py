"""Traces that data frames leave in tables: their index, a delimiter at the ends of lines, and columns of categories."""

import json
import re
from collections.abc import Collection
from typing import Any

import numpy as np

from pretrain.data import columns

_OF_INDEX = re.compile(r"|Unnamed: 0|__index_level_\d+__")  # of pandas and R in .csv, and of pandas in .parquet


def unnamed(table: Any, named: Collection[str]) -> dict[str, str]:
    """Returns columns that nobody named which are an index or empty, with the reason to leave them out."""
    reasons = {}
    for name in table.column_names:
        if not _OF_INDEX.fullmatch(name) or name in named:
            continue
        values = table[name]
        if values.null_count == len(values):
            reasons[name] = "without name and values"
        elif columns.are_numbers(values.type) and not values.null_count:
            numbers = columns.numbers_of(values)
            if (numbers == np.rint(numbers)).all() and len(np.unique(numbers)) == len(numbers):
                reasons[name] = "the index of a data frame"
    return reasons


def categorical(table: Any) -> list[str]:
    """Returns the columns that are categories in a data frame of pandas, numbers among them."""
    try:
        described = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
        return [each["name"] for each in described.get("columns", []) if each["pandas_type"] == "categorical"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []  # damaged, or of another writer
