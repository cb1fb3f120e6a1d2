"""What the files in configs/ablations share: a base config with some options changed.

Such a file is chosen with a parameter after a colon: the base, the name of a file beside the folder
of the ablations, after the values that the ablation takes, if any:
`--config=configs/ablations/no_intent.py:debug`, `--config=configs/ablations/step_size.py:5,debug`.
"""

from __future__ import annotations

import pathlib
import runpy
from collections.abc import Mapping
from typing import Any

from absl import flags
from ml_collections import config_dict

from trustee_jax.config import override

BASE = "quickstart"


def ablate(file: str, base: str, options: Mapping[str, Any]) -> config_dict.ConfigDict:
    """The base config with the ablation's options.

    Args:
      file: The ablation's file.
      base: Name of a config in the folder above it, without ".py".
      options: Values by dotted name.

    Raises:
      flags.Error: There is no such base, or it has all of these options already.
    """
    folder = pathlib.Path(file).absolute().parents[1]
    names = sorted(path.stem for path in folder.glob("*.py"))
    if base not in names:
        raise flags.Error(f"--config: there is no base {base!r}; name one of {', '.join(names)}")
    config = runpy.run_path(str(folder / f"{base}.py"))["get_config"]()
    before = config.to_json()
    ablated = override(config, options)
    if options and ablated.to_json() == before:
        others = ", ".join(name for name in names if name != base)
        raise flags.Error(
            f"--config: the base {base} has already what {pathlib.Path(file).name} changes; name "
            f"another one after the colon, or after the value and a comma: {others}"
        )
    return ablated


def split(parameter: str, form: str) -> tuple[str, str]:
    """The value and the base of a parameter "VALUE" or "VALUE,BASE".

    Args:
      parameter: What follows the colon.
      form: What to write, for the error.

    Raises:
      flags.Error: It has no value.
    """
    value, _, base = parameter.partition(",")
    if not value:
        raise wrong(parameter, form)
    return value, base or BASE


def number(text: str, form: str) -> float:
    """A number of a parameter.

    Raises:
      flags.Error: It is none.
    """
    try:
        return float(text)
    except ValueError:
        raise wrong(text, form) from None


def wrong(given: str, form: str) -> flags.Error:
    """The error for a value that cannot be read.

    Args:
      given: What is wrong with it.
      form: What to write.
    """
    # Shown as it is, while a ValueError out of a config file comes with its traceback.
    return flags.Error(
        f"{given!r} after the colon of --config: write {form}; a comma and a base may follow"
    )
