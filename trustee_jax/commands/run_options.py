"""The config file that `--config=RUN` stands for: the options of a run that there is."""

from __future__ import annotations

from absl import flags
from ml_collections import config_dict

from trustee_jax.config import default, override
from trustee_jax.errors import InputError
from trustee_jax.options import flatten
from trustee_jax.training.workdir import read_options


def get_config(run: str) -> config_dict.ConfigDict:
    """The options of the run in a folder, to edit.

    Raises:
      flags.Error: The folder holds no run, or one with an option that is none of this version.
    """
    try:
        return override(default(), flatten(read_options(run)))
    except InputError as error:
        # Shown as it is, while a ValueError out of a config file comes with its traceback.
        raise flags.Error(f"--config={run}: {error}") from None
