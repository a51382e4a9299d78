"""Views of the user's own: functions of their files, as in ``FILE.py:FUNCTION``."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pretrain.config.fields import ConfigError
from pretrain.config.own_code import NAMED, blamed, made
from pretrain.config.paths import path_of


class OwnView(NamedTuple):
    """A function of examples [B, ...] and a key, which returns examples of the same shape."""

    word: str  # that names it
    field: str  # that has the word
    function: Callable[[Any, Any], Any]

    def __call__(self, examples: Any, key: Any) -> Any:
        """Returns a view of examples.

        Raises:
          ConfigError: the function fails, or returns anything else.
        """
        file, _, _ = self.word.rpartition(":")
        with blamed(self.field, self.word, path_of(self.field, file)):
            found = self.function(examples, key)
        wanted, given = (
            f"{each.dtype}{list(each.shape)}" if hasattr(each, "dtype") else type(each).__name__
            for each in (examples, found)
        )
        if given != wanted:
            raise ConfigError(self.field, self.word, f"returns {given} of {wanted}; return examples of the same shape")
        return found

    def __repr__(self) -> str:
        """Returns its word without an address, in which processes differ."""
        return f"OwnView({self.word})"


def own_views(field: str, words: Iterable[str]) -> tuple[OwnView, ...]:
    """Returns the views of the user's among those that a field names.

    Raises:
      ConfigError: a file or function is not there, or fails.
    """
    found = []
    for word in words:
        if match := NAMED.fullmatch(word):
            function = made(field, word, match[1], match[2], lambda found: found)
            if not callable(function):
                raise ConfigError(field, word, f"names {match[2]}, which is no function of its file; define it there")
            found.append(OwnView(word, field, function))
    return tuple(found)
