"""Files that are written whole, or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Gives a draft beside a file to write to, which takes the file's place when all went well.

    Raises:
      OSError: it could not be written; names the file, which is as it was.
    """
    draft = target.with_name(f".{target.name}.draft")
    try:
        yield draft
        draft.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(target)) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
