"""Training checkpoints: all that a run needs to go on exactly where it was.

Every checkpoint is a folder named by its step. Each named tree of arrays and the host's JSON state
are separate items in it, so that an export can read the weights without the optimizer state.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from trustee_jax.errors import InputError, NonFiniteError
from trustee_jax.rl import all_finite
from trustee_jax.storage import Closing

_HOST = "host"
_METRIC = "score"
_MAX_DIFFERENCES = 8
# On the device: no array is fetched for it.
_all_finite = jax.jit(all_finite)


class RestoreError(InputError):
    """A checkpoint is missing, damaged, or holds other arrays than those asked for."""


@dataclasses.dataclass(frozen=True, eq=False)
class Restored:
    """One checkpoint's contents.

    Attributes:
      step: Whose it is.
      arrays: The trees that were asked for, placed as asked for.
      host: The JSON state saved beside them.
    """

    step: int
    arrays: dict[str, Any]
    host: dict[str, Any]


class _Manager(ocp.CheckpointManager):
    """Leaves the preemption service to `stopping.Stopper`, which counts its own sync points."""

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpointer(Closing):
    """Saves in the background; keeps the newest and the best; restores onto any mesh.

    With several processes, all of them call every method with the same arguments.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        read_only: bool = False,
    ) -> None:
        """Opens `folder`, creates it if need be, and removes what a killed save left behind.

        Args:
          folder: Holds one folder per checkpoint.
          keep_last: Newest checkpoints that are kept.
          keep_best: Checkpoints with the highest score that are kept besides.
          read_only: Change nothing: for readers beside a run, whose unfinished saves must stay.
        """
        self._folder = epath.Path(pathlib.Path(folder).absolute())
        self._manager = _Manager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                # Also what makes the manager store the score.
                best_fn=_score,
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(keep_last),
                        policies.BestN(get_metric_fn=_score, n=keep_best),
                    ]
                ),
                cleanup_tmp_directories=not read_only,
                create=not read_only,
                read_only=read_only,
            ),
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of all complete checkpoints, ascending."""
        return tuple(sorted(self._manager.all_steps()))

    @property
    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step of the complete checkpoint with the highest score, the newest of equals."""
        scores = {step: _score(self._manager.metrics(step) or {}) for step in self.steps}
        known = [(score, step) for step, score in scores.items() if score > -math.inf]
        return max(known)[1] if known else None

    def save(
        self,
        step: int,
        arrays: Mapping[str, Any],
        host: Mapping[str, Any],
        *,
        score: float | None = None,
    ) -> None:
        """Starts saving; returns as soon as the arrays may be donated or overwritten.

        A step that is already saved is not saved again. Numbers that are not finite are never
        saved: the checkpoints before them stay the newest.

        Args:
          step: Training steps that are complete, from 1.
          arrays: Trees of arrays by name, e.g. "params" and "optimizer"; any of dicts, lists, named
            tuples and registered classes. Names other than "host".
          host: JSON values: step counter, curriculum, ....
          score: What `keep_best` ranks by; higher is better, None is worst.

        Raises:
          NonFiniteError: An array holds infinite or NaN numbers.
        """
        if step in self._manager.all_steps():
            return
        for name, tree in arrays.items():
            if not _all_finite(tree):
                newest = self.latest_step
                left = "there is none before it" if newest is None else f"the newest is {newest}"
                raise NonFiniteError(
                    f"{self._folder}: step {step} is not saved, because its {name} are not finite; "
                    f"{left}"
                )
        items: dict[str, Any] = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
        items[_HOST] = ocp.args.JsonSave(dict(host))
        self._manager.save(
            step,
            args=ocp.args.Composite(**items),
            metrics={_METRIC: None if score is None else float(score)},
            force=True,
        )

    def restore(
        self, abstract: Mapping[str, Any], *, step: int | Literal["best"] | None = None
    ) -> Restored:
        """Reads a checkpoint straight into the given layout.

        Args:
          abstract: Trees of `jax.ShapeDtypeStruct` by name, with shardings, of the same structure,
            shapes and dtypes as saved. The mesh may be another. Names that are left out are not
            read.
          step: Which one; "best" is the one with the highest score, None the newest.

        Raises:
          RestoreError: There is no such checkpoint, it is damaged, or its arrays are others.
        """
        if self.latest_step is None:
            raise RestoreError(
                f"{self._folder}: no complete checkpoint; train until the first is saved"
            )
        if step == "best":
            step = self.best_step
            if step is None:
                raise RestoreError(
                    f"{self._folder}: no checkpoint has a score, so none is best; name a step: "
                    + ", ".join(map(str, self.steps))
                )
        if step is None:
            step = self.latest_step
        if step not in self.steps:
            have = ", ".join(map(str, self.steps)) or "none"
            raise RestoreError(f"{self._folder}: no checkpoint of step {step}; there are: {have}")
        folder = self._folder / str(step)
        try:
            for name, tree in abstract.items():
                _check_tree(folder / name, tree)
            items: dict[str, Any] = {
                name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()
            }
            items[_HOST] = ocp.args.JsonRestore()
            found = self._manager.restore(step, args=ocp.args.Composite(**items))
            arrays = {name: found[name] for name in abstract}
            return Restored(step, arrays, found[_HOST])
        except RestoreError:
            raise
        # Damage shows as whatever the storage layers happen to raise.
        except Exception as error:
            first_line = next(iter(str(error).splitlines()), "")
            raise RestoreError(
                f"{folder} is damaged ({type(error).__name__}: {first_line[:200]}); "
                "delete this folder to go on from the checkpoint before it"
            ) from error

    def wait(self) -> None:
        """Returns when everything that was saved is on disk; raises what went wrong there."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases the background threads."""
        self._manager.close()


def _score(metrics: Mapping[str, float | None]) -> float:
    score = metrics.get(_METRIC)
    return -math.inf if score is None else score


def _check_tree(item: epath.Path, abstract: Any) -> None:
    """Compares paths in the tree, shapes and dtypes before anything is read."""
    if not item.exists():
        raise RestoreError(f"{item}: missing; this checkpoint was saved with other trees of arrays")
    metadata = ocp.StandardCheckpointHandler().metadata(item)
    found = {
        "/".join(map(str, path)): (tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in ocp.tree.to_flat_dict(metadata.tree).items()
        if leaf is not None
    }
    expected = {
        "/".join(ocp.tree.str_keypath(path)): _stored_form(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(abstract)
    }
    differences = [
        f"{name}: {_describe(found.get(name))} saved, {_describe(expected.get(name))} expected"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    if differences:
        more = len(differences) - _MAX_DIFFERENCES
        listed = "; ".join(differences[:_MAX_DIFFERENCES]) + (f"; {more} more" if more > 0 else "")
        raise RestoreError(
            f"{item} holds other arrays: {listed}. Use the config and the "
            "version it was trained with"
        )


def _stored_form(leaf: Any) -> tuple[tuple[int, ...], str]:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return tuple(leaf.shape), str(leaf.dtype)


def _describe(form: tuple[tuple[int, ...], str] | None) -> str:
    return "nothing" if form is None else f"{form[1]}{list(form[0])}"
