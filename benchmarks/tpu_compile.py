"""Compiles a run's programs for a TPU slice on a machine that has none, and says whether they fit.

  pip install -e '.[tpu-compile]'
  python benchmarks/tpu_compile.py --config=configs/qwen3_8b.py --topology=v5e:4x4

No weights are read: of a checkpoint on the hub only the config.json is needed (those of
benchmarks/architectures are taken from there). The exit status is 1 if something does not fit.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

# libtpu would ask the metadata server of a TPU host where it is, and wait for a TPU of its own.
os.environ |= {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_MIN_LOG_LEVEL": "3",
}

import jax
import numpy as np
from absl import app, flags, logging
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import config_flags
from rich.console import Console
from rich.table import Table

from trustee_jax import rl
from trustee_jax.build import abstract_frozen, abstract_policy
from trustee_jax.config import Config, parse
from trustee_jax.engine.programs import Programs as EnginePrograms
from trustee_jax.engine.programs import Rows
from trustee_jax.models import MeshRules, ModelConfig, Transformer, make_mesh, param_shardings
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.rl.learner import MICRO_BATCHES
from trustee_jax.rl.programs import Programs as LearnerPrograms
from trustee_jax.rl.programs import split_trainable
from trustee_jax.weights import open_checkpoint

GIB = 2**30
# What a program may use of a device's memory, as the compiler reports it when that is too little.
USABLE_GIB = {"v5e": 15.75, "v5p": 95.74, "v6e": 31.25, "tpu7x": 94.75}
ARCHITECTURES = pathlib.Path(__file__).parent / "architectures"
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_COLLECTIVE = re.compile(rf" ({'|'.join(COLLECTIVES)})(?:-start)?\(")


@dataclasses.dataclass(frozen=True)
class Program:
    """Something that a run compiles.

    Attributes:
      name: For the table.
      function: Jitted.
      arguments: Shapes with their layout.
      uses: The resident parts that are among the arguments.
    """

    name: str
    function: jax.stages.Wrapped
    arguments: tuple[Any, ...]
    uses: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What became of a program; bytes are per chip.

    Attributes:
      name: Of the program.
      seconds: Of tracing, lowering and compiling.
      arguments: Bytes, with the padding of tiles.
      output: Bytes that do not reuse an argument's.
      temp: Bytes of everything in between.
      peak: Bytes while it runs, with all that is resident besides its arguments.
      collectives: Operations in the program's text by kind; those of a loop's body (all layers are
        one) count once.
      collective_bytes: Of their results, likewise.
      error: Why it did not compile, or None.
    """

    name: str
    seconds: float
    arguments: int = 0
    output: int = 0
    temp: int = 0
    peak: int = 0
    collectives: dict[str, int] = dataclasses.field(default_factory=dict)
    collective_bytes: dict[str, int] = dataclasses.field(default_factory=dict)
    error: str | None = None


def architecture(source: str) -> ModelConfig:
    """The architecture of a checkpoint, without its weights where it lies on the hub."""
    if not source.startswith("hub:"):
        return open_checkpoint(source).config
    name, _, revision = source.removeprefix("hub:").partition("@")
    path = ARCHITECTURES / f"{name.rpartition('/')[2]}.json"
    if not path.is_file():
        from huggingface_hub import hf_hub_download

        path = pathlib.Path(hf_hub_download(name, "config.json", revision=revision or None))
    return ModelConfig.from_hf(json.loads(path.read_text(encoding="utf-8")))


def abstract(tree: Any, shardings: Any, dtype: Any = None) -> Any:
    """Shapes with a layout and perhaps another dtype."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, dtype or x.dtype, sharding=s), tree, shardings
    )


def chip_bytes(tree: Any) -> int:
    """Bytes per chip of arrays of these shapes and layouts."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
    )


class Plan:
    """The programs of a run and what lies in memory between them, as `training.build` sets it up.

    Attributes:
      programs: To be compiled.
      caches: What attends to a cache, its tokens and rows, by the cache's name.
      resident: Bytes per chip by name.
      rows: Packed rows of a micro-batch of the learner.
    """

    def __init__(self, config: Config, mesh: Mesh):
        """Plans; nothing is compiled yet."""
        # Who compiles has a CPU.
        config = dataclasses.replace(config, model=config.model.resolved("tpu"))
        self._config = config
        self._mesh = mesh
        self._rules = MeshRules.create(mesh, LEARNER_RULES)
        self.programs: list[Program] = []
        self.resident: dict[str, int] = {}
        self.caches: dict[str, dict[str, Any]] = {}
        options = config.model
        policy = abstract_policy(architecture(options.source), options)
        _, trained, base = self._layout(policy)
        self._plan_learner(policy, base)
        if options.lora_rank:
            self.resident["base weights"] = chip_bytes(base)
            self.resident["LoRA of the engine"] = chip_bytes(trained)
            shared = options.simulator is None
            uses = ("base weights", "LoRA of the engine")
            self._plan_engine("policy" if not shared else "", policy, uses)
        else:
            shared = False
            generator = abstract_frozen(policy.config, options)
            self.resident["weights of the engine"] = chip_bytes(self._layout(generator)[1])
            self._plan_engine("policy", generator, ("weights of the engine",))
        if not shared:
            simulator = architecture(options.simulator or options.source)
            frozen = abstract_frozen(simulator, options)
            self.resident["simulator"] = chip_bytes(self._layout(frozen)[1])
            self._plan_engine("simulator", frozen, ("simulator",))

    def _layout(self, model: Transformer) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
        graphdef, trained, rest = split_trainable(model)
        trained = abstract(trained, param_shardings(trained, self._rules))
        return graphdef, trained, abstract(rest, param_shardings(rest, self._rules))

    def _plan_learner(self, policy: Transformer, frozen: nnx.State) -> None:
        config, options = self._config.learner, self._config.model
        temperature = self._config.environment.policy.sampling.temperature
        programs = LearnerPrograms(policy, self._mesh, config, temperature)
        state = programs.abstract_state()
        self.rows = programs.rows
        self.resident["trained parameters"] = chip_bytes(state.params)
        self.resident["optimizer"] = chip_bytes(state.optimizer)
        rows = rl.PackedBatch.empty(programs.rows, config.row_length)
        batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (MICRO_BATCHES, *x.shape),
                x.dtype,
                sharding=programs.batch_sharding(MICRO_BATCHES),
            ),
            rows,
        )
        base = ("base weights",) if options.lora_rank else ()
        uses = ("trained parameters", "optimizer", *base)
        arguments = (state, frozen, batch, np.int32(1))
        self.programs.append(Program("update", programs.update, arguments, uses))
        if config.tis_cap is not None:
            arguments = (state.params, frozen, batch, True, np.int32(1))
            self.programs.append(Program("score before", programs.score, arguments, uses))
        if not config.kl_coef:
            return
        params, uses = state.params, ("trained parameters", *base)
        if not options.lora_rank:
            _, params, _ = self._layout(abstract_frozen(policy.config, options))
            uses = ("simulator",)
            if options.simulator not in (None, options.source):
                self.resident["reference"] = chip_bytes(params)
                uses = ("reference",)
        arguments = (params, frozen, batch, False, np.int32(1))
        self.programs.append(Program("score", programs.score, arguments, uses))

    def _plan_engine(self, role: str, model: Transformer, uses: tuple[str, ...]) -> None:
        config = self._config.engine
        programs = EnginePrograms.create(model, self._mesh, config)
        small = programs.rules.replicated
        _, params = nnx.split(model)
        params = abstract(params, param_shardings(params, self._rules))
        rows = Rows.zeros(programs.slots)
        rows = abstract(rows, jax.tree.map(lambda _: small, rows))
        name = f"KV cache of the {role}".removesuffix(" of the ")
        prefix = f"{role} " if role else ""
        spec, cache = programs.cache, programs.cache.abstract()
        self.resident[name] = chip_bytes(cache)
        self.caches[name] = {
            "attention": spec.kernel,
            "dtype": str(spec.dtype),
            "tokens": spec.pages * spec.parts * spec.page_size,
            "page_size": spec.page_size,
            "rows": programs.slots,
            "max_length": config.max_length,
        }
        uses = (*uses, name)
        width, piece = programs.prefill_rows, config.prefill_tokens
        which = np.zeros(width, np.int32)
        tables = np.zeros((width, config.pages_per_row), np.int32)
        prompts = np.zeros((width, piece), np.int32)
        arguments: tuple[Any, ...] = (params, cache, tables, which, which, prompts)
        arguments += (which.astype(bool),)
        self.programs.append(
            Program(f"{prefix}prefill {width} x {piece}", programs.prefill, arguments, uses)
        )
        copies = np.zeros((programs.cache.parts, width), np.int32)
        self.programs.append(
            Program(f"{prefix}copy", programs.copy, (cache, copies, copies), (name,))
        )
        tables = np.zeros((programs.slots, config.pages_per_row), np.int32)
        arguments = (params, cache, rows, tables, np.zeros(programs.slots, bool))
        for kind in ("forward", "decode"):
            program = getattr(programs, kind)
            self.programs.append(Program(f"{prefix}{kind}", program, arguments, uses))


def collectives(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """Counts, and bytes of results, of the collectives in a compiled program's text, by kind."""
    counts: collections.Counter[str] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    for line in text.splitlines():
        match = _COLLECTIVE.search(line)
        if match:
            counts[match[1]] += 1
            sizes[match[1]] += _result_bytes(line[: match.start()])
    return dict(sorted(counts.items())), dict(sorted(sizes.items()))


def _result_bytes(text: str) -> int:
    """Of the largest array in the left-hand side of an instruction."""
    sizes = [0]
    for dtype, dims in re.findall(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]", text):
        bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
        sizes.append(math.prod(int(d) for d in dims.split(",") if d) * bits // 8)
    return max(sizes)


def compile_program(
    program: Program, resident: dict[str, int], mesh: Mesh, dump: str | None
) -> Compiled:
    """Compiles for the chips that the arguments are laid out on."""
    start = time.perf_counter()
    try:
        # Kernels ask the mesh what kind of chip they are for.
        with jax.set_mesh(mesh):
            traced = program.function.trace(*program.arguments)
            compiled = traced.lower(lowering_platforms=("tpu",)).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        seconds = time.perf_counter() - start
        message = re.sub(r"\s+", " ", str(error)).partition("Program hbm requirement")[0]
        return Compiled(program.name, seconds, error=message)
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    text = compiled.as_text()
    if dump:
        folder = pathlib.Path(dump)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{program.name.replace(' ', '_')}.hlo").write_text(text, encoding="utf-8")
    output = memory.output_size_in_bytes - memory.alias_size_in_bytes
    used = sum(resident[name] for name in program.uses)
    own = memory.argument_size_in_bytes + output + memory.temp_size_in_bytes
    return Compiled(
        program.name,
        seconds,
        arguments=memory.argument_size_in_bytes,
        output=output,
        temp=memory.temp_size_in_bytes,
        peak=own + sum(resident.values()) - used,
        collectives=(found := collectives(text))[0],
        collective_bytes=found[1],
    )


def show(report: dict[str, Any], console: Console) -> None:
    """Prints the tables."""
    limit = report["usable_bytes"]
    mesh = " x ".join(f"{name} {size}" for name, size in report["mesh"].items())
    table = Table(title=f"{report['config']} on {report['topology']} ({mesh}), GiB per chip")
    table.add_column("program")
    for name in ("seconds", "arguments", "output", "temp", "total", "with all else"):
        table.add_column(name, justify="right")
    table.add_column("collectives")
    for row in report["programs"]:
        cells = [row["name"], f"{row['seconds']:.0f}"]
        if row["error"]:
            table.add_row(*cells, "", "", "", "", "[red]too large[/]", row["error"])
            continue
        own = [row[name] for name in ("arguments", "output", "temp")]
        cells += [f"{size / GIB:.2f}" for size in (*own, sum(own))]
        colour = "green" if row["peak"] <= limit else "red"
        cells.append(f"[{colour}]{row['peak'] / GIB:.2f}[/]")
        counts = (f"{count} {name}" for name, count in row["collectives"].items())
        table.add_row(*cells, ", ".join(counts))
    console.print(table)
    table = Table(title="Resident between the programs")
    table.add_column("what")
    table.add_column("GiB per chip", justify="right")
    for name, size in report["resident"].items():
        table.add_row(name, f"{size / GIB:.2f}")
    table.add_section()
    together = sum(report["resident"].values())
    table.add_row("together", f"{together / GIB:.2f}")
    table.add_row("usable", f"{limit / GIB:.2f}")
    console.print(table)
    for name, cache in report["caches"].items():
        console.print(f"{name}: {', '.join(f'{key} {value}' for key, value in cache.items())}")


def measure(
    config: Config, topology: str, choose: Callable[[str], bool], dump: str | None
) -> Iterator[dict[str, Any]]:
    """Compiles program by program and yields the report so far.

    Args:
      config: Of the run.
      topology: Generation and shape, e.g. v5e:4x4.
      choose: Which programs, by name.
      dump: A folder for the compiled programs' text, or None.
    """
    # A host of these generations has four chips or eight, unless one is said to have one.
    alone = topology.endswith(":1x1")
    options = {"chips_per_host_bounds": (1, 1, 1), "num_slices": 1, "wrap": (False,) * 3}
    devices = topologies.get_topology_desc(
        platform="tpu", topology_name=topology, **(options if alone else {})
    ).devices
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor, devices)
    plan = Plan(config, mesh)
    names = [program.name for program in plan.programs]
    if not any(map(choose, names)):
        raise app.UsageError(f"--programs matches none of: {', '.join(names)}")
    limit = int(USABLE_GIB[topology.partition(":")[0]] * GIB)
    report: dict[str, Any] = {
        "topology": topology,
        "chips": len(devices),
        "usable_bytes": limit,
        "mesh": dict(mesh.shape),
        "caches": plan.caches,
        "row_length": config.learner.row_length,
        "rows_per_micro_batch": plan.rows,
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "libtpu")},
        "resident": plan.resident,
        "programs": [],
    }
    for program in plan.programs:
        if choose(program.name):
            result = compile_program(program, plan.resident, mesh, dump)
            report["programs"].append(dataclasses.asdict(result))
            peaks = [sum(plan.resident.values())]
            peaks += [row["peak"] for row in report["programs"]]
            errors = any(row["error"] for row in report["programs"])
            report["fits"] = not errors and max(peaks) <= limit
            yield report


def main(argv: list[str]) -> int:
    """Runs the command."""
    del argv
    topology = flags.FLAGS.topology
    generation = topology.partition(":")[0]
    if generation not in USABLE_GIB:
        known = ", ".join(USABLE_GIB)
        raise app.UsageError(f"--topology={topology}: write one of {known}, and a shape: v5e:4x4")
    logging.set_verbosity(logging.WARNING)
    config = parse(flags.FLAGS.config)
    console = Console(width=max(120, Console().width))
    wanted = flags.FLAGS.programs

    def choose(name: str) -> bool:
        return not wanted or any(word in name for word in wanted)

    report: dict[str, Any] = {}
    with console.status("compiling") as status:
        for report in measure(config, topology, choose, flags.FLAGS.dump):
            status.update(f"compiling; {report['programs'][-1]['name']} is done")
    command = " ".join(sys.argv)
    report = {"config": flags.FLAGS["config"].config_filename, "command": command, **report}
    show(report, console)
    if flags.FLAGS.output:
        path = pathlib.Path(flags.FLAGS.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if report["fits"] else 1


if __name__ == "__main__":
    config_flags.DEFINE_config_file(
        "config", None, "Config of the run; its options can be set too."
    )
    flags.DEFINE_string("topology", "v5e:4x4", "Generation and shape of the slice.")
    flags.DEFINE_string("output", None, "JSON file to write.")
    flags.DEFINE_string("dump", None, "Folder for the text of the compiled programs.")
    flags.DEFINE_list("programs", [], "Only programs with one of these words in the name.")
    flags.mark_flag_as_required("config")
    sys.exit(app.run(main))
