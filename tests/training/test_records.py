import contextlib
import json
import pathlib
import resource
from collections.abc import Iterator

import pytest

from trustee_jax.jsonl import LogError
from trustee_jax.training.records import EpisodeLog, read_episodes


def test_every_episode_can_be_read_while_the_log_grows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        for number in range(3):
            log.append(1, {"messages": [{"content": "größer\n"}], "reward": None, "n": number})
            assert [episode["n"] for episode in read_episodes(path)] == list(range(number + 1))
    assert next(read_episodes(path)) == {
        "step": 1,
        "messages": [{"content": "größer\n"}],
        "reward": None,
        "n": 0,
    }


def test_a_half_written_last_line_is_not_an_episode(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        log.append(1, {"n": 0})
    whole = path.read_bytes()
    for cut in (b'{"step": 2, "n', '{"step": 2, "n": "ä'.encode()[:-1], b'{"step": 2, "n": 1}'):
        path.write_bytes(whole + cut)
        assert [episode["n"] for episode in read_episodes(path)] == [0]
        # Going on with the log must not glue the next episode to the remains.
        with EpisodeLog(path, resume_step=2) as log:
            log.append(3, {"n": 2})
        assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [0, 2]


def test_resuming_drops_the_steps_that_are_played_again(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        for step in (1, 1, 2, 2, 3):
            log.append(step, {})
    EpisodeLog(path, resume_step=2).close()
    assert [episode["step"] for episode in read_episodes(path)] == [1, 1, 2, 2]
    EpisodeLog(path).close()
    assert list(read_episodes(path)) == []
    assert [file.name for file in tmp_path.iterdir()] == ["episodes.jsonl"]


def test_damage_before_the_last_line_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "episodes.jsonl"
    for damage in ("not json", "[1]", "{}", '{"step": 3}', "\0\0"):
        text = f'{{"step": 1}}\n{damage}\n{{"step": 2}}\n{{"step": 3}}\n'
        path.write_text(text)
        # A run that counts on the second step does not go on as if nothing were missing.
        with pytest.raises(LogError, match=r"episodes\.jsonl, line 2: .* up to 2"):
            EpisodeLog(path, resume_step=2)
        assert path.read_text() == text
        # One that plays it again does.
        EpisodeLog(path, resume_step=1).close()
        assert [episode["step"] for episode in read_episodes(path)] == [1]
    path.write_text('{"step": 1}\nnot json\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"episodes\.jsonl, line 2"):
        list(read_episodes(path))


def test_what_is_removed_is_counted(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 2}\n\0\0\n{"step": 2, "n')
    with EpisodeLog(path, resume_step=1) as log:
        assert log.dropped == 3
    with EpisodeLog(path, resume_step=1) as log:
        assert log.dropped == 0


def test_a_lone_surrogate_can_be_written_and_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        log.append(1, {"query": "\ud83d cut in half"})
    assert [episode["query"] for episode in read_episodes(path)] == ["\ud83d cut in half"]


def test_a_record_cannot_say_another_step(tmp_path: pathlib.Path) -> None:
    with EpisodeLog(tmp_path / "episodes.jsonl") as log:
        log.append(2, {"step": 7, "reward": 1.0})
    assert list(read_episodes(tmp_path / "episodes.jsonl")) == [{"step": 2, "reward": 1.0}]


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """The system writes what fits into 4096 bytes of a file, and refuses the rest.

    It says so of every file of the process, pytest's own output among them: no fixture, which
    would still hold while pytest writes the test's result.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_of_a_line_without_room_nothing_stays(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log, small_files():
        log.append(1, {"text": "x" * 4000})
        whole = path.read_bytes()
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"):
                log.append(1, {"text": "y" * 4000})
            assert path.read_bytes() == whole
    assert path.read_bytes() == whole


def test_a_disabled_log_writes_nothing(tmp_path: pathlib.Path) -> None:
    with EpisodeLog(tmp_path / "episodes.jsonl", enabled=False) as log:
        log.append(1, {})
    assert not list(tmp_path.iterdir())
