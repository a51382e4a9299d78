"""Files that are written whole, or not at all, and archives of arrays that are read whole, or not at all."""

import contextlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np


class MissingArrayError(ValueError):
    """An archive without an array of a name, which the message is."""


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


def read_npz(source: Path | bytes, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns arrays of an .npz archive, a file or its content, by name; nothing in it can execute anything.

    Raises:
      OSError: it cannot be read.
      MissingArrayError: it lacks an array.
      ValueError: it is damaged, or no archive of arrays.
    """
    try:
        # NumPy itself would leave a bad file open, and read fewer rows from one whose header is damaged.
        opened = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with opened as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            if archive.zip.testzip():
                raise zipfile.BadZipFile("an array fails its checksum")
            missing = [name for name in names if name not in archive]
            if missing:
                raise MissingArrayError(missing[0])
            return {name: np.asarray(archive[name]) for name in names}
    except (OSError, MissingArrayError):
        raise
    except Exception as error:  # a damaged archive can fail in the zip, the decompression, the header or the memory
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
