"""Groups and their statuses, refilling, prepared tasks, and what the curriculum sees of them."""

import contextlib

import pytest
from scripted_step import Script, different

from trustee_jax.curriculum import Curriculum
from trustee_jax.environment import RecentTasks, Stopped
from trustee_jax.training import collect

MIXED = (1.0, 0.0, -1.0, 1.0)


def by_task(table: dict[int, list]):
    """Rewards by the task's index; others are mixed."""
    return lambda key: (table.get(key[1], MIXED) * 9)[key[2]]


def step(trainer):
    played = []
    return trainer.train_step(lambda _, episode: played.append(episode)), played


def statuses(result) -> tuple[float, ...]:
    names = ("trainable", "zero_variance", "insufficient", "refills")
    return tuple(result.scalars[f"groups/{name}"] for name in names)


def test_groups_of_use_are_left_alone(monkeypatch) -> None:
    result, played = step(Script(monkeypatch, by_task({})).trainer())
    assert statuses(result) == (3, 0, 0, 0)
    assert [e.key for e in played] == [(1, t, e) for t in range(3) for e in range(4)]


def test_an_episode_is_reported_as_soon_as_it_is_over(monkeypatch) -> None:
    script = Script(monkeypatch, by_task({0: [1.0]}), **{"training.prepare_tasks": False})
    script.trainer().train_step(lambda step, e: script.events.append(("over", step, e.key)))
    happened = [event for event in script.events if event[0] in ("episode", "over")]
    # Those of a group that is played in addition, too.
    keys = [(1, task, episode) for task in range(4) for episode in range(4)]
    assert happened == [
        event for key in keys for event in (("episode", key), ("over", key[0], key))
    ]


def test_weakness_8_a_lone_survivor_gets_company_of_its_own_task(monkeypatch) -> None:
    script = Script(monkeypatch, by_task({1: [1.0, None, None, None, 0.0, 0.0, -1.0]}))
    result, played = step(script.trainer())
    assert statuses(result) == (3, 0, 0, 1)
    # Three further episodes, in place of the three that are invalid, under keys of their own.
    again = [e for e in played if e.key[1] == 1]
    assert [e.key[2] for e in again] == list(range(7))
    assert len({id(e.task) for e in again}) == 1
    assert [e.reward for e in again if e.valid] == [1.0, 0.0, 0.0, -1.0]
    assert (
        sum(event[0] == "task" for event in script.events) == 3 + 3
    )  # none beyond the next step's


def test_weakness_8_a_group_without_variance_makes_room_for_another_task(monkeypatch) -> None:
    script = Script(monkeypatch, by_task({0: [1.0], 3: [0.0], 4: MIXED}))
    result, played = step(script.trainer())
    # Task 3 came in place of 0 and was no better; 4 was.
    assert statuses(result) == (3, 2, 0, 2)
    assert [e.key[1] for e in played] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert result.scalars["tasks/written"] == 5
    (batch,) = script.system.learner.batches
    assert len(batch.groups) == 3


def test_weakness_8_a_lone_survivor_never_enters_the_batch(monkeypatch) -> None:
    table = {0: [1.0, None, None, None], 1: [None], 2: MIXED}
    for keep in ("drop", "keep"):
        options = {"training.refill_groups": 0, "learner.zero_variance_groups": keep}
        script = Script(monkeypatch, by_task(table), **options)
        result, _ = step(script.trainer())
        assert statuses(result) == (1, 0, 2, 0)
        (batch,) = script.system.learner.batches
        assert len(batch.groups) == 1


@pytest.mark.parametrize(("budget", "expected"), [(0, 0), (1, 1), (2, 2), (5, 5)])
def test_the_budget_is_kept(monkeypatch, budget, expected) -> None:
    script = Script(monkeypatch, lambda key: -1.0, **{"training.refill_groups": budget})
    result, played = step(script.trainer())
    assert statuses(result) == (0, 3 + expected, 0, expected)
    assert len(played) == 4 * (3 + expected)
    assert len({e.key for e in played}) == len(played)
    assert result.scalars["learner/updates"] == 0


def test_a_group_that_stays_broken_spends_the_budget_and_no_more(monkeypatch) -> None:
    options = {"training.refill_groups": 3, "training.tasks_per_step": 1}
    result, played = step(Script(monkeypatch, lambda key: None, **options).trainer())
    assert statuses(result) == (0, 0, 1, 3)
    assert len(played) == 4 * 4
    assert result.reward is None
    assert result.scalars["episodes/invalid_user_length"] == result.scalars["episodes/played"] > 0


def test_min_valid_is_what_a_group_needs(monkeypatch) -> None:
    table = {0: [1.0, 0.0, None, None]}
    for least, expected in ((2, (3, 0, 0, 0)), (3, (2, 0, 1, 0))):
        options = {"training.refill_groups": 0, "training.min_valid": least}
        assert (
            statuses(step(Script(monkeypatch, by_task(table), **options).trainer())[0]) == expected
        )


def test_kept_zero_variance_groups_are_trained_on_and_not_refilled(monkeypatch) -> None:
    script = Script(monkeypatch, by_task({0: [1.0]}), **{"learner.zero_variance_groups": "keep"})
    result, _ = step(script.trainer())
    assert statuses(result) == (2, 1, 0, 0)
    (batch,) = script.system.learner.batches
    assert len(batch.groups) == 3


def test_weakness_11_a_task_that_cannot_be_written_is_missing_not_a_dummy(monkeypatch) -> None:
    def task(key):
        return "!length" if key[1] == 1 else different(key)

    script = Script(monkeypatch, by_task({}), task, **{"training.max_task_attempts": 2})
    result, played = step(script.trainer())
    assert {e.key[1] for e in played} == {0, 2}
    assert statuses(result) == (2, 0, 0, 0)
    scalars = result.scalars
    assert (scalars["tasks/written"], scalars["tasks/draws"]) == (2, 4)
    assert scalars["tasks/failed_task_length"] == 2
    # Nothing at all can be played: the step is empty, and says so.
    nothing = Script(monkeypatch, by_task({}), lambda key: "!length")
    result, played = step(nothing.trainer())
    assert not played
    assert result.reward is None
    assert result.scalars["learner/updates"] == 0


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 9])
def test_the_first_draw_that_gives_a_task_counts(monkeypatch, at_once, backwards) -> None:
    """However many are under way, and in whichever order they end."""
    first = {0: 0, 1: 3, 2: 5}  # by the task's number; of the last one, no draw is good

    def task(key):
        return different(key) if key[2] >= first[key[1]] else "!malformed"

    def drive(coroutines, engines, *, threads, on_progress, should_stop):
        order = reversed(coroutines) if backwards else coroutines
        for done, coroutine in enumerate(order):
            assert list(coroutine) == []
            on_progress(done + 1, len(coroutines))
        return [None] * len(coroutines)

    options = {"training.max_task_attempts": 5, "training.attempts_in_flight": at_once}
    script = Script(monkeypatch, by_task({}), task, **options)
    monkeypatch.setattr(collect, "drive", drive)
    trainer = script.trainer()
    rollouts = trainer._collector.write_tasks(1, trainer.curriculum, trainer._recent)
    assert [(g.index, g.task.intent) for g in rollouts.groups] == [
        (0, different((1, 0, 0))),
        (1, different((1, 1, 3))),
    ]
    drawn = [key for event, key in script.events]
    assert len(set(drawn)) == len(drawn) == rollouts.draws
    if at_once == 1:
        assert len(drawn) == 1 + 4 + 5
    # Every draw is one of three things, and what is not played may be written again.
    failed = rollouts.failures.total()
    assert len(drawn) == len(rollouts.groups) + rollouts.unused_tasks + failed
    assert rollouts.unused_tasks > 0 or not backwards or at_once < 3
    assert len(rollouts.recent.state()["texts"]) == len(rollouts.groups)
    assert len(rollouts.failures) == 1 and rollouts.failures["task_malformed"] <= 3 + 5


def test_weakness_6_aborted_episodes_do_not_move_the_difficulty(monkeypatch) -> None:
    """Two of three valid episodes succeed; counted as failures, the others would lower it."""
    rewards = by_task({t: [1.0, 0.0, None, None] for t in range(3)})
    script = Script(monkeypatch, rewards, **{"curriculum.initial": 40.0})
    trainer = script.trainer()
    result, _ = step(trainer)
    assert script.updates == [[(1.0, 0.0)] * 3]
    assert result.reward == 0.5
    assert trainer.curriculum.difficulty == 43
    # Aborted ones alone leave it where it is.
    script = Script(monkeypatch, lambda key: None, **{"curriculum.initial": 40.0})
    trainer = script.trainer()
    step(trainer)
    assert trainer.curriculum.difficulty == 40


def test_valid_episodes_of_unused_groups_count_in_the_curriculum(monkeypatch) -> None:
    table = {0: [-1.0], 1: [1.0, None, None, None], 3: [-1.0]}
    script = Script(monkeypatch, by_task(table), **{"training.refill_groups": 2})
    result, played = step(script.trainer())
    valid = [e.reward for e in played if e.valid]
    assert sorted(r for rewards in script.updates[0] for r in rewards) == sorted(valid)
    assert result.reward == sum(valid) / len(valid)


# Tasks: recent ones, and those of the next step.


def test_a_step_writes_no_task_twice_and_remembers_what_it_used(monkeypatch) -> None:
    def task(key):
        # The second task is the first one again, until its third draw.
        return "book a hotel in Rome" if key[1] == 0 or key[2] < 2 else different(key)

    script = Script(monkeypatch, by_task({}), task, **{"training.tasks_per_step": 2})
    trainer = script.trainer()
    result, _ = step(trainer)
    assert result.scalars["tasks/rejected_near_copy"] == 2
    assert trainer._recent.nearest("book a hotel in Rome\nq") == 1


def test_writing_tasks_reads_its_state_and_can_be_repeated(monkeypatch) -> None:
    script = Script(monkeypatch, by_task({}))
    trainer = script.trainer()
    recent = RecentTasks(8, 0.6)
    recent.add("an old wish")
    curriculum = Curriculum()
    before = recent.state()
    first, second = (trainer._collector.write_tasks(5, curriculum, recent) for _ in range(2))
    assert recent.state() == before != first.recent.state()
    assert [g.task.aspects for g in first.groups] == [g.task.aspects for g in second.groups]
    assert [g.task.tools for g in first.groups] == [g.task.tools for g in second.groups]
    # Each time from empty caches: what was served before leaves no trace.
    assert script.system.engines["policy"].resets == 2


def test_the_next_tasks_are_written_while_the_update_runs(monkeypatch) -> None:
    script = Script(monkeypatch, by_task({}), **{"training.steps": 2})
    trainer = script.trainer()
    step(trainer)
    tail = script.events[script.events.index("dispatched") :]
    assert tail[:4] == ["dispatched", *(("task", (2, t, 0)) for t in range(3))]
    assert set(tail[4:]) == {"fetched"}
    # They are of the difficulty after the step, and the next step writes none but for later ones.
    difficulty = trainer.curriculum.difficulty
    script.events.clear()
    _, played = step(trainer)
    assert {e.task.aspects.difficulty for e in played} == {difficulty}
    assert not any(event[0] == "task" for event in script.events)  # nor any after the last step


def test_preparing_changes_no_task(monkeypatch) -> None:
    def run(prepare):
        script = Script(monkeypatch, by_task({0: [0.0]}), **{"training.prepare_tasks": prepare})
        trainer = script.trainer()
        played = [e for _ in range(3) for e in step(trainer)[1]]
        return [(e.key, e.task.aspects, e.task.tools, e.task.intent) for e in played]

    assert run(True) == run(False)


def test_a_lent_cache_changes_no_task(monkeypatch) -> None:
    """It is freed before each update, and the next tasks are written after it."""

    def run(release):
        script = Script(monkeypatch, by_task({0: [0.0]}), **{"training.release_cache": release})
        trainer = script.trainer()
        monkeypatch.setattr(
            script.system, "release_caches", lambda: script.events.append("release"), False
        )
        played = [e for _ in range(3) for e in step(trainer)[1]]
        return [(e.key, e.task.aspects, e.task.tools, e.task.intent) for e in played], script.events

    (kept, usual), (lent, events) = run(False), run(True)
    assert kept == lent
    assert "release" not in usual
    assert events.count("release") == 3
    for start in (i for i, event in enumerate(events) if event == "release"):
        learning = events[start : events.index("fetched", start)]
        assert "dispatched" in learning
        assert not any(event[0] == "task" for event in learning)


def test_a_step_is_completed_when_its_successor_is_not_prepared(monkeypatch) -> None:
    script = Script(monkeypatch, by_task({}))
    trainer = script.trainer()
    original = trainer._collector.write_tasks

    def stopped(number, *args):
        if number == 2:
            raise Stopped
        return original(number, *args)

    trainer._collector.write_tasks = stopped
    step(trainer)
    assert trainer.step == 1
    state = (trainer.curriculum.state(), trainer._recent.state())
    with contextlib.suppress(Stopped):
        step(trainer)
    assert trainer.step == 1
    assert (trainer.curriculum.state(), trainer._recent.state()) == state
