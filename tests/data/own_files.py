"""Files of one's own, loaded or refused."""

import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def load(path, validation=60, **fields):
    return data.load(DataConfig(name=str(path), validation=validation, **fields))


def refused(path, *parts, **settings):
    """Returns the one line in which a dataset is refused, after looking for the parts in it."""
    with pytest.raises(ConfigError) as error:
        load(path, **settings)
    text = str(error.value)
    assert text.splitlines() == [text]
    for part in parts:
        assert part in text
    return text
