"""Somebody real in the place of the simulated user."""

from scripted_engine import ScriptedEngine
from test_episode import BOOK, FIND, Script

from trustee_jax.environment import run, run_episode


class Human:
    def __init__(self, *said):
        self.said, self.heard = list(said), []

    def hear(self, message):
        self.heard.append(message)

    def ask(self):
        return self.said.pop(0)


def test_the_human_is_asked_and_hears_everything(make_environment, make_task):
    environment, human = make_environment(), Human(" Two nights.\n", "")
    script = Script(["How long?", FIND + BOOK, "Booked."], user=[])  # nobody is simulated
    engine = ScriptedEngine(environment.policy_format, script)
    coroutine = run_episode(environment, make_task(), (1, 2, 3), human=human)
    (episode,) = run([coroutine], {"policy": engine, "simulator": engine})
    assert episode.valid and episode.ended == "user" and human.said == []
    assert [m["content"] for m in episode.messages if m["role"] == "user"][1:] == ["Two nights."]
    assert human.heard == [m for m in episode.messages if m["role"] in ("assistant", "tool")]
    assert episode.verdict is not None and episode.reward == 1
