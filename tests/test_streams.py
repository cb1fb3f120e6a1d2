"""Streams of different purposes and places never meet, and everything that is drawn has one."""

import ast
import itertools
import pathlib

import jax
import numpy as np
import pytest

import trustee_jax
from trustee_jax import streams
from trustee_jax.streams import Purpose

PACKAGE = pathlib.Path(trustee_jax.__file__).parent
# Of these modules nothing else may be called. The first of a pair draws from a key that it is
# given; a bit generator's type is no draw.
RANDOM = ("numpy.random", "jax.random", "random", "secrets", "uuid")
DRAWS = {"jax.random.uniform", "jax.random.key_data"}


def places() -> list[tuple[int, ...]]:
    """Of all lengths, with the numbers that padding, carries and concatenation could confuse."""
    few = [
        place
        for length in range(5)
        for place in itertools.product((0, 1, 2, 13, 2**32 - 1), repeat=length)
    ]
    # What a long run asks for.
    many = [
        (step, task, episode, 0, attempt)
        for step in range(40)
        for task in range(8)
        for episode in range(8)
        for attempt in range(2)
    ]
    return [*few, *many]


def test_no_two_purposes_or_places_share_a_key() -> None:
    found: dict[int, tuple] = {}
    for seed, purpose, place in itertools.product((0, 1), Purpose, places()):
        key = int(streams.request_key(seed, (purpose, *place)).view(np.uint64)[0])
        assert key not in found, (seed, purpose, place, found[key])
        found[key] = (seed, purpose, place)
    assert len(found) > 100_000


def test_seeds_places_and_lengths_do_not_run_into_each_other() -> None:
    """Where numbers are only put in a row, these are equal."""
    assert np.array_equal(
        np.random.SeedSequence([1, 2]).generate_state(2),
        np.random.SeedSequence([1, 2, 0]).generate_state(2),
    )
    groups = [
        [(1, (2,)), (1, (2, 0)), (1, (2, 0, 0)), (0, (1, 2))],
        [(0, (4, 1)), (4, (1,)), (0, (0, 4, 1))],
    ]
    for group in groups:
        keys = {streams.request_key(seed, key).tobytes() for seed, key in group}
        assert len(keys) == len(group)


def test_a_number_has_one_stream_whatever_draws_it() -> None:
    place = (3, 0, 1)
    first = streams.generator(Purpose.TOOLS, 5, *place).random(4)
    assert np.array_equal(first, streams.generator(Purpose.TOOLS, 5, *place).random(4))
    others = [
        streams.generator(Purpose.ASPECTS, 5, *place),
        streams.generator(Purpose.TOOLS, 6, *place),
        streams.generator(Purpose.TOOLS, 5, *place, 0),
        streams.generator(Purpose.TOOLS, 5, "3", 0, 1),
    ]
    assert all(not np.array_equal(first, other.random(4)) for other in others)
    one, two = (streams.choices(Purpose.FAULT, 0, 1, name) for name in ("a", "b"))
    assert one.random() == streams.choices(Purpose.FAULT, 0, 1, "a").random() != two.random()
    names = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), (3, "abc")]
    assert len({streams.choices(Purpose.FAULT, 0, *name).random() for name in names}) == len(names)


def test_the_tokens_of_a_request_have_keys_of_their_own() -> None:
    keys = [streams.request_key(0, (Purpose.POLICY, 1, 0, 0, turn, 0)) for turn in range(4)]
    made = {
        jax.random.key_data(streams.token_key(jax.numpy.asarray(key), count)).tobytes()
        for key in keys
        for count in range(16)
    }
    assert len(made) == 64


@pytest.mark.parametrize("number", [-1, 2**32, 2**40])
def test_a_number_that_needs_several_words_is_refused(number: int) -> None:
    for seed, place in ((number, 0), (0, number)):
        with pytest.raises(ValueError, match=rf"{number} in the key .* must lie in \[0, 2\*\*32\)"):
            streams.generator(Purpose.TOOLS, seed, place)


def names_called(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, dotted name) of all that is called, with the names of imports written out."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                known[one.asname or one.name.split(".")[0]] = (
                    one.name if one.asname else one.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for one in node.names:
                known[one.asname or one.name] = f"{node.module}.{one.name}"

    def dotted(node: ast.AST) -> str | None:
        if isinstance(node, ast.Name):
            return known.get(node.id)
        if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
            return f"{left}.{node.attr}"
        return None

    return [
        (node.lineno, name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (name := dotted(node.func))
    ]


def draws_of_its_own(text: str) -> list[tuple[int, str]]:
    return [
        (line, name)
        for line, name in names_called(ast.parse(text))
        if name.rpartition(".")[0] in RANDOM and name not in DRAWS
    ]


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np\nnp.random.default_rng(3)",
        "import numpy\nnumpy.random.seed(3)",
        "from numpy.random import SeedSequence as S\nS([1, 2])",
        "import jax\njax.random.fold_in(key, 1)",
        "from jax import random\nrandom.split(key)",
        "import random\nrandom.Random(3)",
    ],
)
def test_the_search_finds_draws(text: str) -> None:
    assert [line for line, _ in draws_of_its_own(text)] == [2]


def test_everything_that_is_drawn_goes_through_streams() -> None:
    files = [*PACKAGE.rglob("*.py"), PACKAGE.parent / "benchmarks" / "environment.py"]
    assert len(files) > 100
    found = {
        str(file.relative_to(PACKAGE.parent)): draws
        for file in files
        if file.name != "streams.py" and (draws := draws_of_its_own(file.read_text()))
    }
    assert not found
