"""Config files: Python whose ``get_config()`` returns an experiment."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pretrain.config.complaints import misplaced
from pretrain.config.experiment import Experiment
from pretrain.config.fields import ConfigError, with_values
from pretrain.config.own_code import contained, failure
from pretrain.config.paths import path_of
from pretrain.config.suggestions import suggestion


def packaged() -> Path:
    """Returns the directory of the configs that come with the package, which stands beside it in a clone."""
    package = Path(__file__).parents[1]
    return next(path for path in (package / "configs", package.with_name("configs")) if path.is_dir())


def names(configs: Path) -> list[str]:
    """Returns the names of the configs in a directory."""
    return sorted(path.stem for path in configs.glob("*.py") if not path.stem.startswith("_"))


def documentation(file: Path) -> str:
    """Returns a config's docstring; its name, or the reason that it cannot be read, where it has none."""
    try:
        return ast.get_docstring(ast.parse(file.read_bytes())) or file.stem
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"cannot be read ({error})"


def find(name: str, configs: Path | None = None) -> Path:
    """Returns the file of a config, given its path, or its name in a directory of configs.

    Raises:
      ConfigError: there is no such file.
    """
    if name.endswith(".py") or configs is None:
        path_of("config", name)
        file = Path(name).expanduser()
        if not file.is_file():
            raise ConfigError("config", name, "is no file; give the path of a config")
        return file
    known = names(configs)
    if not known:
        raise ConfigError("config", name, f"is not in {configs}, which holds no config; give the path of one")
    if name not in known:
        near = suggestion(name, known, "or give the path of a file")
        raise ConfigError("config", name, f"is none of {', '.join(known)}; {near}")
    return configs / f"{name}.py"


def load(file: Path, name: str) -> Experiment:
    """Returns a config's experiment, which by default runs in directories of the config's name.

    Args:
      file: the config.
      name: by which it was asked for.

    Raises:
      ConfigError: it fails, or returns something else.
    """
    try:
        spec: Any = importlib.util.spec_from_file_location(f"configs.{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        experiment = contained(lambda: (spec.loader.exec_module(module), module.get_config())[1])
    except ConfigError:
        raise
    except ValidationError as error:
        name, value, what = misplaced(error, {})
        raise ConfigError(f"{error.title}.{name}", value, f"{what} (in {file})") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a config is code, and may fail, or try to leave, in any way
        raise ConfigError("config", name, f"fails with {failure(error, file)}") from None
    if not isinstance(experiment, Experiment):
        raise ConfigError("config", name, f"has a get_config() that returns {experiment!r}, no Experiment ({file})")
    if experiment.run_dir == Experiment.run_dir:
        experiment = with_values(experiment, {"run_dir": f"runs/{file.stem}-{{id}}"})
    return experiment
