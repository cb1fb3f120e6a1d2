"""Which runs a sweep's file lists, and what they are called."""

import pathlib

import pytest

from trustee_jax.config import OBJECTIVES
from trustee_jax.errors import InputError
from trustee_jax.sweep import SweepError, product, space, variant


def write(folder: pathlib.Path, returned: str, base: str = "'b.py'") -> str:
    file = folder / "my_sweep.py"
    file.write_text(
        "from trustee_jax.sweep import product, variant\n\n"
        f"BASE = {base}\n\ndef sweep():\n    return {returned}\n"
    )
    return str(file)


def test_a_product_has_every_combination_in_order() -> None:
    together = [{"a.x": 1, "a.y": 2}, {"a.x": 3, "a.y": 4}]
    assert product(together, {"b": (True, False), "seed": [0, 1]}) == [
        {"a.x": x, "a.y": x + 1, "b": b, "seed": seed}
        for x in (1, 3)
        for b in (True, False)
        for seed in (0, 1)
    ]
    assert product() == [{}]


def test_folders_are_named_after_the_options_and_seeds_make_no_variant(
    tmp_path: pathlib.Path,
) -> None:
    sweep = space.read(
        write(
            tmp_path,
            "product({'learner.rate': [1e-4, 3e-7], 'seed': [0, 1]}) + [{'seed': 2}, {},"
            " {'tools': '/a b/c.json', 'x': ('q', 'v'), 'y': True, 'z': None}]",
        )
    )
    assert sweep.base == "b.py"
    assert [(member.name, member.variant) for member in sweep.members] == [
        ("learner.rate=0.0001,seed=0", "learner.rate=0.0001"),
        ("learner.rate=0.0001,seed=1", "learner.rate=0.0001"),
        ("learner.rate=3e-07,seed=0", "learner.rate=3e-07"),
        ("learner.rate=3e-07,seed=1", "learner.rate=3e-07"),
        ("base,seed=2", "base"),
        ("base", "base"),
        ("tools=-a-b-c.json,x=q-v,y=true,z=None",) * 2,
    ]
    assert sweep.members[0].flags() == ["--config.learner.rate=0.0001", "--config.seed=0"]
    assert sweep.members[-1].flags() == [
        "--config.tools=/a b/c.json",
        "--config.x=('q', 'v')",
        "--config.y=true",
    ]


def test_variants_have_names_of_their_own(tmp_path: pathlib.Path) -> None:
    made = product([variant(n, OBJECTIVES[n]) for n in ("grpo", "gspo")], {"seed": [0], "r": [8]})
    assert [entry["name"] for entry in made] == ["grpo,r=8", "gspo,r=8"]
    assert made[0]["learner.kl_coef"] == 0.04
    sweep = space.read(write(tmp_path, "product([variant('a', {'x': 1})], {'seed': [0, 1]})"))
    assert [(member.name, member.variant) for member in sweep.members] == [
        ("a,seed=0", "a"),
        ("a,seed=1", "a"),
    ]
    assert sweep.members[0].options == {"x": 1, "seed": 0}


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("[{'x': 1}, {'x': 1}]", ["runs 1 and 2", "the folder x=1", "variant("]),
        ("[{'x': 'a/b'}, {'x': 'a-b'}]", ["runs 1 and 2", "x=a-b"]),
        ("[{'x': 'a/b', 'seed': 0}, {'x': 'a-b', 'seed': 1}]", ["two variants", "x=a-b"]),
        ("[variant('v', {'x': 1, 'seed': 0}), variant('v', {'seed': 1})]", ["two variants", "v"]),
        ("[{'x': 'y' * 300}]", ["run 1", "too long", "variant("]),
        ("[]", ["returns []"]),
        ("None", ["returns None"]),
        ("[3]", ["run 1 is 3"]),
        ("[{3: 4}]", ["run 1 is {3: 4}"]),
        ("1 / 0", ["ZeroDivisionError"]),
        ("product({'x': 'abc'})", ["x = 'abc'", "list of values"]),
        ("product({'x': 3})", ["x = 3", "list of values"]),
        ("product({'x': [1]}, [{'x': 2}])", ["x is in two axes"]),
    ],
)
def test_a_wrong_sweep_is_one_line(tmp_path: pathlib.Path, returned: str, words: list[str]) -> None:
    file = write(tmp_path, returned)
    with pytest.raises(SweepError) as raised:
        space.read(file)
    message = str(raised.value)
    assert message.startswith(f"{file}: ") and "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["there is no file"]),
        ("x = (\n", ["line 1"]),
        ("import nowhere_at_all\n", ["line 1", "nowhere_at_all"]),
        ("def sweep():\n    return [{}]\n", ["BASE is missing"]),
        ("BASE = 3\ndef sweep():\n    return [{}]\n", ["BASE is missing"]),
        ("BASE = 'b.py'\nsweep = [{}]\n", ["sweep() is missing"]),
    ],
)
def test_a_wrong_file_is_one_line(
    tmp_path: pathlib.Path, text: str | None, words: list[str]
) -> None:
    file = tmp_path / "my_sweep.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as raised:
        space.read(str(file))
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)
    assert all(word in str(raised.value) for word in words), str(raised.value)
