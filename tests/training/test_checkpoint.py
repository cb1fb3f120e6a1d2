import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trustee_jax.errors import NonFiniteError
from trustee_jax.training.checkpoint import Checkpointer, RestoreError


def _mesh(rows: int, columns: int) -> Mesh:
    devices = np.array(jax.devices()[: rows * columns]).reshape(rows, columns)
    return Mesh(devices, ("data", "model"))


def _sharded(mesh: Mesh, seed: int = 0) -> dict:
    layer = nnx.state(nnx.Linear(8, 16, rngs=nnx.Rngs(seed), dtype=jnp.bfloat16))
    params = jax.tree.map(
        lambda x: jax.device_put(
            x, NamedSharding(mesh, PartitionSpec(*[None] * (x.ndim - 1), "model"))
        ),
        layer,
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    return {"params": params, "optimizer": jax.jit(optimizer.init)(params)}


def _abstract(arrays: dict, mesh: Mesh) -> dict:
    def one(x: jax.Array) -> jax.ShapeDtypeStruct:
        spec = PartitionSpec(*([None] * (x.ndim - 1) + ["model"] if x.ndim else []))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(one, arrays)


def _assert_equal(found: object, expected: object) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_restores_exactly_onto_another_mesh(tmp_path: pathlib.Path) -> None:
    arrays = _sharded(_mesh(1, 8))
    arrays["optimizer"] = jax.tree.map(lambda x: x + jnp.asarray(0.1, x.dtype), arrays["optimizer"])
    host = {"step": 3, "curriculum": {"difficulty": 7}, "mean": 0.1 + 0.2}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(3, arrays, host)
    other = _mesh(2, 2)
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.latest_step == 3
        restored = checkpointer.restore(_abstract(arrays, other))
    assert restored.host == host
    _assert_equal(restored.arrays, arrays)
    assert all(leaf.sharding.mesh == other for leaf in jax.tree.leaves(restored.arrays))


def test_one_tree_can_be_read_without_the_others(tmp_path: pathlib.Path) -> None:
    arrays = _sharded(_mesh(1, 1))
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, arrays, {"step": 1})
        checkpointer.wait()
        restored = checkpointer.restore(_abstract({"params": arrays["params"]}, _mesh(1, 1)))
    _assert_equal(restored.arrays, {"params": arrays["params"]})


def test_saved_values_survive_donation_of_the_buffers(tmp_path: pathlib.Path) -> None:
    size = 8_000_000
    overwrite = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    with Checkpointer(tmp_path) as checkpointer:
        array = jnp.arange(size, dtype=jnp.float32) + 0
        checkpointer.save(1, {"params": {"w": array}}, {})
        overwrite(array).block_until_ready()
        checkpointer.wait()
        abstract = {"params": {"w": jax.ShapeDtypeStruct((size,), jnp.float32)}}
        restored = checkpointer.restore(abstract).arrays["params"]["w"]
    np.testing.assert_array_equal(np.asarray(restored), np.arange(size, dtype=np.float32))


def test_keeps_the_last_and_the_best(tmp_path: pathlib.Path) -> None:
    scores = {1: 0.1, 2: 0.9, 3: None, 4: -1.0, 5: 0.3, 6: None}
    with Checkpointer(tmp_path, keep_last=2, keep_best=1) as checkpointer:
        for step, score in scores.items():
            checkpointer.save(step, {"params": {"w": jnp.full(2, step)}}, {}, score=score)
        checkpointer.wait()
        assert checkpointer.steps == (2, 5, 6)
    # The scores are read back, so a resumed run still knows its best.
    with Checkpointer(tmp_path, keep_last=2, keep_best=1) as checkpointer:
        checkpointer.save(7, {"params": {"w": jnp.full(2, 7)}}, {}, score=0.5)
        checkpointer.wait()
        assert checkpointer.steps == (2, 6, 7)
        abstract = {"params": {"w": jax.ShapeDtypeStruct((2,), jnp.int32)}}
        assert checkpointer.restore(abstract, step=2).arrays["params"]["w"].tolist() == [2, 2]


def test_what_a_killed_save_left_is_ignored(tmp_path: pathlib.Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"params": {"w": jnp.ones(2)}}, {"step": 1})
    (tmp_path / "2.orbax-checkpoint-tmp" / "params").mkdir(parents=True)
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.steps == (1,)
        # It is removed in the background, and gone when the next save begins.
        checkpointer.save(2, {"params": {"w": jnp.ones(2)}}, {"step": 2})
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


def test_a_reader_beside_a_run_changes_nothing(tmp_path: pathlib.Path) -> None:
    with Checkpointer(tmp_path / "run") as checkpointer:
        checkpointer.save(1, {"params": {"w": jnp.ones(2)}}, {"step": 1})
    unfinished = tmp_path / "run" / "2.orbax-checkpoint-tmp" / "params"
    unfinished.mkdir(parents=True)
    with Checkpointer(tmp_path / "run", keep_last=1, read_only=True) as reader:
        abstract = {"params": {"w": jax.ShapeDtypeStruct((2,), jnp.float32)}}
        assert reader.restore(abstract).host == {"step": 1}
    assert unfinished.exists()
    with Checkpointer(tmp_path / "none", read_only=True) as reader:
        assert reader.latest_step is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("broken", [jnp.inf, -jnp.inf, jnp.nan])
@pytest.mark.parametrize("item", ["params", "optimizer"])
def test_numbers_that_are_not_finite_are_not_saved(
    tmp_path: pathlib.Path, item: str, broken: float
) -> None:
    mesh = _mesh(2, 4)
    arrays = _sharded(mesh)
    worse = dict(arrays)
    leaves, treedef = jax.tree.flatten(arrays[item])
    leaves[-1] = leaves[-1].at[..., -1].set(broken)
    worse[item] = jax.tree.unflatten(treedef, leaves)
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(NonFiniteError, match="there is none before it"):
            checkpointer.save(1, worse, {})
        checkpointer.save(3, arrays, {"step": 3})
        checkpointer.wait()
        with pytest.raises(NonFiniteError) as caught:
            checkpointer.save(4, worse, {})
        message = str(caught.value)
        assert f"{tmp_path}: step 4 is not saved, because its {item} are not finite" in message
        assert "the newest is 3" in message
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.steps == (3,)
        _assert_equal(checkpointer.restore(_abstract(arrays, mesh)).arrays, arrays)


def test_a_saved_step_is_not_saved_again(tmp_path: pathlib.Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"params": {"w": jnp.ones(2)}}, {"n": 1})
        checkpointer.save(1, {"params": {"w": jnp.zeros(2)}}, {"n": 2})
        abstract = {"params": {"w": jax.ShapeDtypeStruct((2,), jnp.float32)}}
        checkpointer.wait()
        assert checkpointer.restore(abstract).host == {"n": 1}


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"w": jax.ShapeDtypeStruct((3,), jnp.float32)}, ["w: float32[2] saved, float32[3]"]),
        ({"w": jax.ShapeDtypeStruct((2,), jnp.bfloat16)}, ["w: float32[2] saved, bfloat16[2]"]),
        (
            {"v": jax.ShapeDtypeStruct((2,), jnp.float32)},
            ["v: nothing saved", "w: float32[2] saved, nothing expected"],
        ),
    ],
)
def test_another_tree_is_one_clear_error(
    tmp_path: pathlib.Path, tree: dict, words: list[str]
) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(4, {"params": {"w": jnp.ones(2)}}, {})
        checkpointer.wait()
        with pytest.raises(RestoreError) as caught:
            checkpointer.restore({"params": tree})
    message = str(caught.value)
    assert all(word in message for word in [str(tmp_path / "4" / "params"), *words])


def _train_state(rank: int, optimizer: optax.GradientTransformation) -> dict:
    lora = nnx.LoRA(8, rank, 16, rngs=nnx.Rngs(0))
    params = nnx.state(lora)
    return {"params": params, "optimizer": optimizer.init(params)}


@pytest.mark.parametrize(
    ("rank", "optimizer", "item", "words"),
    [
        (4, optax.adamw(1e-3), "params", ["lora_a/value: float32[8, 2] saved, float32[8, 4]"]),
        (
            2,
            optax.sgd(1e-3, momentum=0.9),
            "optimizer",
            [
                "0/mu/lora_a/value: float32[8, 2] saved, nothing expected",
                "0/trace/lora_a/value: nothing saved, float32[8, 2] expected",
            ],
        ),
        # Of another chain, a step counter more.
        (
            2,
            optax.adamw(optax.linear_schedule(0.0, 1e-3, 5)),
            "optimizer",
            ["2/count: nothing saved, int32[] expected"],
        ),
    ],
)
def test_another_train_state_is_one_clear_error(
    tmp_path: pathlib.Path, rank: int, optimizer, item: str, words: list[str]
) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(4, _train_state(2, optax.adamw(1e-3)), {})
        checkpointer.wait()
        shapes = jax.eval_shape(lambda: _train_state(rank, optimizer))
        abstract = {name: shapes[name] for name in ("params", "optimizer")}
        with pytest.raises(RestoreError, match=f"4/{item} holds other arrays") as caught:
            checkpointer.restore(abstract)
    assert all(word in str(caught.value) for word in words)


def test_flat_names_in_place_of_a_tree_are_one_clear_error(tmp_path: pathlib.Path) -> None:
    """As runs before this version saved them."""
    state = _train_state(2, optax.adamw(1e-3))
    flat = {name: ocp.tree.to_flat_dict(tree, sep=".") for name, tree in state.items()}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(4, flat, {})
        checkpointer.wait()
        with pytest.raises(RestoreError, match=r"lora_a\.value: .* saved, nothing expected"):
            checkpointer.restore(jax.eval_shape(lambda: state))


def test_missing_checkpoints_and_trees_are_named(tmp_path: pathlib.Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(RestoreError, match="no complete checkpoint"):
            checkpointer.restore({})
        checkpointer.save(4, {"params": {"w": jnp.ones(2)}}, {})
        checkpointer.wait()
        with pytest.raises(RestoreError, match="no checkpoint of step 5; there are: 4"):
            checkpointer.restore({}, step=5)
        with pytest.raises(RestoreError, match="optimizer: missing"):
            checkpointer.restore({"optimizer": {}})


@pytest.mark.parametrize("item", ["params", "host"])
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: pathlib.Path, item: str) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(4, {"params": {"w": jnp.ones(5000)}}, {"step": 4})
        checkpointer.wait()
        for path in (tmp_path / "4" / item).rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:3])
        abstract = {"params": {"w": jax.ShapeDtypeStruct((5000,), jnp.float32)}}
        with pytest.raises(RestoreError, match=r"4 is damaged .*delete this folder"):
            checkpointer.restore(abstract)
