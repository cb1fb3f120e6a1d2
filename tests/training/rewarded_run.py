"""The `trustee` command with verdicts that always differ, and a place to pause at.

Whatever the options of a run are, its groups shall have rewards that differ, so that it updates:
the verdict of an episode is made of a hash of its sampled tokens.

Usage: rewarded_run.py FOLDER PAUSE ARGUMENT...

FOLDER receives `tokens.jsonl`, the sampled tokens of every episode. PAUSE is "", or STEP:PLACE:
when that step's first episode is over ("episodes"), or before its second optimizer update
("learning"), the run makes FOLDER/paused and waits for FOLDER/go.
"""

import dataclasses
import hashlib
import json
import pathlib
import sys
import time

import numpy as np

from trustee_jax.environment import CriterionVerdict, Verdict
from trustee_jax.rl import learning
from trustee_jax.simulator import CRITERIA
from trustee_jax.training import collect


class Rewarded:
    """Patches the loop; `install` is told how attributes are set."""

    def __init__(self, folder: pathlib.Path, pause: str = ""):
        self.tokens = folder / "tokens.jsonl"
        self._folder = folder
        self._pause = pause
        self._step = self._packed = 0
        self._run_episode, self._pack = collect.run_episode, learning.pack

    def install(self, setattr=setattr) -> None:
        setattr(collect, "run_episode", self.run_episode)
        setattr(learning, "pack", self.pack)

    def run_episode(self, environment, task, key, help=None):
        episode = yield from self._run_episode(environment, task, key, help)
        self._step, self._packed = key[0], 0
        sampled = np.concatenate([s.tokens[s.sampled] for s in episode.sequences])
        with self.tokens.open("a") as file:
            file.write(json.dumps({"key": list(key), "tokens": sampled.tolist()}) + "\n")
        self._wait_at("episodes")
        if not episode.valid:
            return episode
        digest = hashlib.sha256(sampled.tobytes()).digest()
        if digest[-1] % 8 == 0:
            return dataclasses.replace(
                episode, reward=None, ended=None, cause="verifier_malformed", detail="made up"
            )
        asked = CRITERIA[: task.aspects.criteria]
        parts = tuple(CriterionVerdict(name, digest[i] % 2 == 1) for i, name in enumerate(asked))
        verdict = Verdict("made up", parts)
        return dataclasses.replace(episode, verdict=verdict, reward=verdict.reward)

    def pack(self, *args):
        self._packed += 1
        if self._packed == 2:
            self._wait_at("learning")
        return self._pack(*args)

    def _wait_at(self, place: str) -> None:
        if self._pause == f"{self._step}:{place}" and not (self._folder / "paused").exists():
            (self._folder / "paused").touch()
            while not (self._folder / "go").exists():
                time.sleep(0.01)


if __name__ == "__main__":
    from trustee_jax.commands.main import main

    Rewarded(pathlib.Path(sys.argv[1]), sys.argv[2]).install()
    sys.exit(main(sys.argv[3:]))
