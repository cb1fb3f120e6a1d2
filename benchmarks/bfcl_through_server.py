"""The official BFCL command line through `trustee serve`, beside `trustee eval bfcl`.

    trustee eval bfcl RUN --categories=simple_python,multi_turn_base --limit=20 --max_length=8192
        --max_tokens=8192 --output=RESULTS
    python benchmarks/bfcl_through_server.py RESULTS [--env=FOLDER] [--threads=8] [--slots=8]
        [--output=FILE.json]

Serves the model whose results RESULTS holds, has `bfcl generate` ask for the same cases at
temperature 0 and `bfcl evaluate` judge the answers, and compares with RESULTS, read strictly, case
by case. bfcl-eval is unmodified. Its model is one whose handler sends messages, tools and the
temperature to any address that speaks OpenAI's chat completions. It sets no limit on answers, so
that those of RESULTS should end where the context does, too: --max_tokens as large as --max_length.

Its environment takes 600 MB, in the user's cache if --env names no other. Answers, scores and logs
lie in RESULTS/through_server; the same command goes on with cases that have no answer yet. One that
the server refuses, e.g. as its context is full, has an error for an answer, which the official code
takes for "no call" where no call is right; `trustee eval bfcl` counts such a case as wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trustee_jax.evaluation import summary
from trustee_jax.evaluation.installing import (
    BFCL_VERSION,
    Requirements,
    default_folder,
    ensure_environment,
)
from trustee_jax.evaluation.pairs import compare
from trustee_jax.evaluation.results import Record, Results, Verdict, read_results
from trustee_jax.processes import PROGRAM
from trustee_jax.progress import standard_output
from trustee_jax.weights.downloads import cache_folder

MODEL = "openbmb/MiniCPM-SALA-FC"  # the only one whose handler is OpenAI's for chat completions
# What bfcl-eval declares, without what only its web searches and memories import (it brings CUDA),
# and with soundfile, which qwen-agent imports.
NEEDED = Requirements(
    name="bfcl-command-line",
    version=BFCL_VERSION,
    packages=(
        *("anthropic==2.14.0", "boto3==1.44.8", "cohere==5.18.0", "filelock==3.20.0"),
        *("datamodel-code-generator==0.25.7", "google-genai==3.6.1", "huggingface_hub==2.4.0"),
        *("mistralai==1.7.0", "mpmath==1.3.0", "networkx==3.3", "numpy==1.26.4"),
        *("openai==3.57.0", "overrides==7.7.0"),
        *("pandas==3.0.6", "pydantic==2.14.4", "python-dotenv==1.2.4", "qwen-agent==0.0.34"),
        *("requests==2.34.2", "soundfile==0.14.0", "tabulate==0.10.0", "tenacity==9.1.4"),
        *("tree-sitter==0.21.3", "tree-sitter-java==0.21.0", "tree-sitter-javascript==0.21.4"),
        *("tqdm==4.70.1", "typer==0.29.2", "writer-sdk==3.0.0"),
    ),
    dependencies=True,
    flag="--env",
    room="600 MB",
)
FAILED = "Error during inference"  # what the command line writes in place of an answer
STRICT = "strict"


def command_line(folder: pathlib.Path) -> list[str]:
    """The command line, in an environment that is made if it is not there."""
    python = ensure_environment(folder, NEEDED)
    if not list(folder.glob("lib/*/site-packages/bfcl_eval")):
        package = f"bfcl-eval=={BFCL_VERSION}"
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-deps", package], check=True
        )
    return [str(python), "-m", "bfcl_eval"]


@contextlib.contextmanager
def serving(meta: Mapping[str, Any], options: Sequence[str], log: pathlib.Path) -> Iterator[str]:
    """Serves the model that was measured; yields the URL of its root."""
    identity = meta["identity"]
    model = [f"--model={identity['model']}"]
    if meta["run"]:
        model = [meta["run"], f"--step={identity['step']}"]
    command = [*PROGRAM, "serve", *model, f"--name={MODEL}", "--port=0", "--deadline=3600"]
    command += [f"--max_length={identity['max_length']}", *options]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            while not (found := re.search(r"serving on (\S+)", log.read_text())):
                if process.poll() is not None:
                    raise SystemExit(f"the server ended: see {log}")
                time.sleep(0.5)
            yield found[1]
            if process.poll() is not None:
                raise SystemExit(f"the server ended on the way: see {log}")
        finally:
            process.terminate()


def official(program: Sequence[str], work: pathlib.Path, url: str, *arguments: str) -> None:
    """Runs the command line; what it prints goes to a log."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {
        "BFCL_PROJECT_ROOT": str(work),
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "none",
    }
    log = work / f"{arguments[0]}.log"
    with log.open("w") as out:
        command = [*program, *arguments]
        if subprocess.run(command, env=environment, stdout=out, stderr=out).returncode:
            raise SystemExit(f"bfcl {arguments[0]} failed: see {log}")


def lines_of(folder: pathlib.Path, category: str, kind: str) -> list[dict[str, Any]]:
    """What the command line wrote of a category: its results or its scores."""
    (file,) = folder.rglob(f"BFCL_v?_{category}_{kind}.json")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def judged(
    program: Sequence[str],
    work: pathlib.Path,
    url: str,
    cases: Mapping[str, Sequence[str]],
    threads: int,
) -> tuple[dict[str, Record], dict[str, Any]]:
    """Has the command line ask a server, and judge what it says.

    Args:
      program: The command line.
      work: Its folder; cases that have an answer there are not asked again.
      url: Root of the server.
      cases: Their ids, by category.
      threads: How many are asked at a time.

    Returns:
      The verdicts by case, and the answers.
    """
    work.mkdir(exist_ok=True)
    (work / "test_case_ids_to_generate.json").write_text(json.dumps(cases))
    asking = ("--temperature=0", "--run-ids", f"--num-threads={threads}")
    official(program, work, url, "generate", f"--model={MODEL}", *asking)
    categories = f"--test-category={','.join(cases)}"
    official(program, work, url, "evaluate", f"--model={MODEL}", categories, "--partial-eval")
    records, answers = {}, {}
    for category, ids in cases.items():
        given = {one["id"]: one["result"] for one in lines_of(work / "result", category, "result")}
        _, *wrong = lines_of(work / "score", category, "score")  # the first line counts them
        reasons = {one["id"]: json.dumps(one.get("error", "")) for one in wrong}
        for id in ids:
            verdict = Verdict(id not in reasons, reasons.get(id, ""))
            failed = isinstance(given[id], str) and given[id].startswith(FAILED)
            error = given[id] if failed else ""
            records[id] = Record(id, category, {STRICT: verdict}, error=error)
            answers[id] = given[id]
    return records, answers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--env", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--slots", type=int)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    ours = read_results(arguments.results)
    identity = ours.meta["identity"]
    if identity["lenient"] or identity["sampling"]["temperature"]:
        parser.error(f"{arguments.results} was read leniently, or drawn at a temperature")
    cases: dict[str, list[str]] = {}
    for record in ours.records.values():
        cases.setdefault(record.category, []).append(record.id)

    environment = arguments.env or default_folder(cache_folder(), NEEDED)
    program = command_line(environment.absolute())
    work = (arguments.results / "through_server").absolute()
    work.mkdir(exist_ok=True)
    options = [f"--record={work / 'requests.jsonl'}"]
    options += [f"--slots={arguments.slots}"] if arguments.slots else []
    start = time.monotonic()
    with serving(ours.meta, options, work / "serve.log") as url:
        records, answers = judged(program, work, url, cases, arguments.threads)
    seconds = round(time.monotonic() - start, 1)
    console = standard_output()
    console.print("A: trustee eval bfcl; B: bfcl generate and evaluate through trustee serve")
    comparison = compare(ours, Results(ours.meta, records), (STRICT, STRICT))
    summary.show_comparison(comparison, console)
    differing = [
        {
            "id": id,
            "ours": vars(mine.verdicts[STRICT]),
            "official": vars(records[id].verdicts[STRICT]),
            "our_texts": mine.texts,
            "official_answers": answers[id],
        }
        for id, mine in ours.records.items()
        if mine.verdicts[STRICT].valid != records[id].verdicts[STRICT].valid
    ]
    failed = {id: one.error for id, one in records.items() if one.error}
    console.print(f"{len(records) - len(differing)} of {len(records)} verdicts are the same")
    for one in differing:
        console.print(one["id"], highlight=False)
    console.print(f"answers that the server refused, or that failed: {len(failed)}")
    if arguments.output:
        report = {
            "identity": identity,
            "bfcl_model": MODEL,
            "threads": arguments.threads,
            "seconds": seconds,
            "cases": {category: len(ids) for category, ids in cases.items()},
            "comparison": comparison.to_json(),
            "failed": failed,
            "differing": differing,
        }
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
