import json

import llguidance.hf
import numpy as np
import pytest
from scripted_engine import walk
from test_episode import BOOK, FIND, Script, play, prompts_of

from trustee_jax.environment import World, WorldConfig
from trustee_jax.environment.world import ImpossibleChange, apply_changes, unique_records
from trustee_jax.simulator import RoleConfig
from trustee_jax.simulator.schemas import changing_result_schema, matches, world_schema

HOTELS = {
    "hotels": [{"id": "H1", "name": "Ibis", "free": 2}, {"id": "H2", "name": "Ritz", "free": 0}],
    "bookings": [],
}


def add(id, **fields):
    return {"operation": "add", "collection": "bookings", "id": id, "fields": fields}


def update(id, **fields):
    return {"operation": "update", "collection": "hotels", "id": id, "fields": fields}


def remove(id):
    return {"operation": "remove", "collection": "hotels", "id": id}


def test_changes_are_applied_in_order():
    changes = [add("B1", hotel="H1"), update("H1", free=1), remove("H2")]
    records, done = apply_changes(HOTELS, changes, "book({})")
    assert records == {
        "hotels": [{"id": "H1", "name": "Ibis", "free": 1}],
        "bookings": [{"hotel": "H1", "id": "B1"}],
    }
    assert [(c.operation, c.collection, c.id) for c in done] == [
        ("add", "bookings", "B1"), ("update", "hotels", "H1"), ("remove", "hotels", "H2"),
    ]  # fmt: skip
    assert done[1].record == {"id": "H1", "name": "Ibis", "free": 1}
    assert HOTELS["hotels"][0]["free"] == 2  # the records that were given stay


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ([add("B1"), update("H3", free=1)], "no record 'H3' to update"),
        ([add("B1"), add("B1")], "already"),
        ([remove("H1"), remove("H1")], "no record 'H1' to remove"),
        ([remove("H1"), update("H1", free=1)], "no record 'H1' to update"),
        ([{"operation": "drop", "collection": "hotels", "id": "H1"}], "no operation"),
        ([{"operation": "add", "collection": "hotels", "id": "", "fields": {}}], "an id"),
        ([{"operation": "add", "collection": 7, "id": "x", "fields": {}}], "a collection"),
        ([{"operation": "add", "collection": "hotels", "id": "x", "fields": [1]}], "no operation"),
    ],
)
def test_impossible_changes_are_refused_as_a_whole(changes, problem):
    world = World(HOTELS)
    with pytest.raises(ImpossibleChange, match=problem):
        world.change(changes, "call({})")
    assert world.records == HOTELS and world.changes == []


def test_an_update_that_changes_nothing_is_no_change():
    world = World(HOTELS)
    world.remember("find", {}, {"n": 1})
    again = update("H1", free=2)
    again["fields"]["id"] = "H9"  # the id of a record stays
    world.change([again], "call({})")
    assert world.changes == [] and world.recall("find", {}) == {"n": 1}


def test_a_read_is_recalled_until_something_changes():
    world = World(HOTELS)
    world.remember("find", {"city": "Lyon", "stars": 3}, {"n": 1})
    assert world.recall("find", {"stars": 3, "city": "Lyon"}) == {"n": 1}
    assert world.recall("find", {"city": "Nice", "stars": 3}) is None
    assert world.recall("search", {"city": "Lyon", "stars": 3}) is None
    world.change([add("B1")], "book({})")
    assert world.recall("find", {"city": "Lyon", "stars": 3}) is None


def test_of_records_with_one_id_the_first_stays():
    rows = [{"id": "a", "n": 1}, {"id": "a", "n": 2}, {"id": "b"}]
    assert unique_records({"x": rows, "y": []}) == {"x": [rows[0], rows[2]], "y": []}


@pytest.fixture(scope="module")
def walker(chat_format):
    return llguidance.hf.from_tokenizer(chat_format.tokenizer)


def test_whatever_the_mask_allows_can_be_applied_alone(walker):
    """One change at a time, an id that exists is the only one that can be updated or removed."""
    ids = {name: [row["id"] for row in rows] for name, rows in HOTELS.items()}
    schema = changing_result_schema(128, ids, changes=1, fields=2)
    rng = np.random.default_rng(0)
    operations = set()
    for _ in range(60):
        answer = json.loads(walk(walker, schema, rng, most=4000))
        assert matches(answer, schema)
        for change in answer["changes"]:
            operations.add(change["operation"])
            if change["operation"] != "add":
                apply_changes(HOTELS, answer["changes"])
    assert operations == {"add", "update", "remove"}
    gone = {"result": {"ok": True}, "changes": [remove("H3")]}
    assert not matches(gone, schema)
    assert matches(gone | {"changes": [remove("H2")]}, schema)


def test_worlds_are_bounded(walker):
    schema = world_schema(collections=2, records=3, fields=2, text_limit=24)
    rng = np.random.default_rng(1)
    for _ in range(20):
        records = json.loads(walk(walker, schema, rng, most=6000))
        assert 1 <= len(records) <= 2
        for rows in records.values():
            assert len(rows) <= 3
            assert all(isinstance(row["id"], str) and 1 <= len(row) <= 3 for row in rows)
        json.dumps(unique_records(records), allow_nan=False)


class Server:
    """A tool environment that gives prepared answers and counts its calls."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    def __call__(self, request):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return json.dumps(answer)


def results(episode):
    return [json.loads(m["content"]) for m in episode.messages if m["role"] == "tool"]


def test_reads_repeat_and_writes_are_seen(make_environment, make_task):
    server = Server(
        {"result": {"free": 2}, "changes": []},
        {"result": {"booked": True}, "changes": [add("B1", hotel="H1"), update("H1", free=1)]},
        {"result": {"free": 1}, "changes": []},
    )
    turns = [FIND + FIND, FIND, BOOK, FIND + FIND, "Booked."]
    script = Script(turns, overrides={"tool": server})
    task = make_task(world=HOTELS, tool_turns=4)
    episode, engine = play(make_environment(), task, script)
    assert results(episode) == [{"free": 2}] * 3 + [{"booked": True}] + [{"free": 1}] * 2
    assert server.asked == 3
    counts = episode.counts
    assert (counts.executed_calls, counts.repeated_reads, counts.changes) == (6, 3, 2)
    assert episode.world["bookings"] == [{"hotel": "H1", "id": "B1"}]
    assert task.world == HOTELS  # shared by the group, so never written to
    prompts = prompts_of(engine, "tool")
    assert '"free":2' in prompts[1] and '"free":1' in prompts[2]
    assert 'bookings: {"hotel":"H1","id":"B1"}' in prompts[2]
    # The verifier sees the records at the end and what was done to them.
    verifier = prompts_of(engine, "verifier")[0]
    assert 'hotels: {"id":"H1","name":"Ibis","free":1}' in verifier
    assert 'add in bookings: {"hotel":"H1","id":"B1"}' in verifier


def test_impossible_changes_are_asked_for_again(make_environment, make_task):
    broken = {"result": {"booked": True}, "changes": [add("B1", hotel="H1"), add("B1", hotel="H1")]}
    failed = {"result": {"error": "full"}, "changes": [add("B1", hotel="H1")]}
    good = {"result": {"booked": True}, "changes": [add("B1", hotel="H1")]}
    script = Script([BOOK, "Booked."], overrides={"tool": Server(broken, failed, good)})
    episode, _ = play(make_environment(), make_task(world=HOTELS), script)
    assert episode.valid and episode.counts.simulator_retries == 2
    assert episode.world["bookings"] == [{"hotel": "H1", "id": "B1"}]
    script = Script([BOOK, "Booked."], overrides={"tool": Server(broken)})
    environment = make_environment(tool=RoleConfig(tries=2))
    episode, _ = play(environment, make_task(world=HOTELS), script)
    assert episode.cause == "tool_rejected" and "already" in episode.detail
    assert episode.world == HOTELS


def test_an_error_without_a_reason_is_asked_for_again(make_environment, make_task):
    """What a small model writes where it may say that a call failed; with a world and without."""
    empty = [{"error": value} for value in ([], False, "", "none")]
    script = Script([FIND, "Done."], overrides={"tool": Server(empty[0], {"error": "closed"})})
    episode, _ = play(make_environment(world=WorldConfig(enabled=False)), make_task(), script)
    assert results(episode) == [{"error": "closed"}]
    assert episode.counts.simulator_retries == 1
    results_of_tries = (*empty[1:], {"error": 0, "free": 2})
    answers = [{"result": result, "changes": []} for result in results_of_tries]
    script = Script([FIND, "Done."], overrides={"tool": Server(*answers)})
    environment = make_environment(tool=RoleConfig(tries=4))
    episode, _ = play(environment, make_task(world=HOTELS), script)
    assert results(episode) == [{"error": 0, "free": 2}]
    assert episode.counts.simulator_retries == 3


def test_without_a_world_nothing_is_repeated(make_environment, make_task):
    environment = make_environment(world=WorldConfig(enabled=False))
    episode, _ = play(environment, make_task(), Script([FIND + FIND, "Done."]))
    assert results(episode) == [{"number": 1}, {"number": 2}]
    assert episode.world is None and episode.counts.repeated_reads == 0
