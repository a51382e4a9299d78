"""Names that others chose, as text that cannot act on the text around it."""

import unicodedata


def plain(text: str) -> str:
    """Returns a text in which all that steers or hides is blank: control letters, and those that turn lines around."""
    return "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in text)
