"""`trustee serve`."""

from __future__ import annotations

import os
import pathlib

from absl import flags

from trustee_jax.commands.command_line import Command, Positional, absolute, given, path

_KEY = "TRUSTEE_API_KEY"


def _define(values: flags.FlagValues) -> None:
    texts = {
        "model": (
            None,
            "Weights to serve in place of a run's: hub:Qwen/Qwen3-8B, a GGUF file or "
            "an exported folder.",
        ),
        "name": (None, "Name that clients ask for; that of the run's folder if not given."),
        "host": ("127.0.0.1", "Address to listen on; 0.0.0.0 is every one of this machine."),
        "api_key": (
            None,
            f"What clients must send as a bearer token; {_KEY} of the environment if "
            "not given, none if that is not set either.",
        ),
        "record": (
            None,
            "File that finished conversations are added to, as JSON lines with token "
            "ids and log-probabilities.",
        ),
    }
    for name, (default, text) in texts.items():
        flags.DEFINE_string(name, default, text, flag_values=values)
    flags.DEFINE_enum(
        "protocol",
        "openai",
        ("jetstream", "openai"),
        "OpenAI's over HTTP, or jetstream: gRPC by JetStream's own server, which answers with the "
        "likeliest tokens.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "adapters",
        [],
        "Further runs of the same base, each as NAME=RUN; their newest checkpoints are served "
        "beside the first.",
        flag_values=values,
    )
    numbers = {
        "port": (8000, 0, "Port to listen on; 0 takes a free one."),
        "step": (None, 0, "Which checkpoint of RUN; 0: before training; the newest if not given."),
        "slots": (None, 1, "Answers under way at a time; engine.slots of the config if not given."),
        "max_length": (None, 1, "Longest context, in tokens; that of the config if not given."),
        "queue": (256, 1, "Requests under way and waiting; further ones are answered by 429."),
        "max_body": (4 * 2**20, 1, "Longest request, in bytes."),
    }
    for name, (number, least, text) in numbers.items():
        flags.DEFINE_integer(name, number, text, least, 2**31 - 1, flag_values=values)
    floats = {
        "deadline": (600.0, "Seconds that an answer may take."),
        "drain": (60.0, "Seconds that answers under way get to end after SIGTERM."),
        "temperature": (1.0, "Of requests that name none; 0 takes the likeliest tokens."),
    }
    for name, (value, text) in floats.items():
        flags.DEFINE_float(name, value, text, lower_bound=0.0, flag_values=values)


def _serve(values: flags.FlagValues, run: str | None = None) -> None:
    workdir = None if run is None else absolute(run)
    model = given(values, "model")
    if (workdir is None) == (model is None):
        raise flags.Error("name what to serve: a RUN or --model=SOURCE, one of both")
    if workdir is None and given(values, "step") is not None:
        raise flags.Error("--step needs a RUN")
    adapters = _adapters(given(values, "adapters") or [])
    if adapters and workdir is None:
        raise flags.Error("--adapters needs a RUN")
    try:
        from trustee_jax.serving.app import ServeLimits, Server
        from trustee_jax.serving.server import listen, serve, serve_jetstream
    except ModuleNotFoundError as error:
        raise flags.Error(f"{error.name} is missing: pip install 'trustee-jax[serve]'") from None
    from trustee_jax.build import plain_config
    from trustee_jax.run import read_config
    from trustee_jax.serve import open_models
    from trustee_jax.serving.recording import Recorder
    from trustee_jax.storage import storage_errors

    limits = ServeLimits(
        api_key=given(values, "api_key") or os.environ.get(_KEY) or None,
        queue=given(values, "queue"),
        deadline=given(values, "deadline"),
        body=given(values, "max_body"),
    )
    config = plain_config(str(model)) if workdir is None else read_config(workdir)
    name = given(values, "name") or (workdir.name if workdir else pathlib.PurePath(model).name)
    recorder = None
    if given(values, "record"):
        file = path(values, "record")
        with storage_errors(file.parent):
            recorder = Recorder(file)
    openai = given(values, "protocol") == "openai"
    listening = listen(given(values, "host"), given(values, "port")) if openai else None
    print(f"loading {config.model.source}", flush=True)
    models = open_models(
        config,
        name,
        workdir,
        adapters,
        step=given(values, "step"),
        slots=given(values, "slots"),
        max_length=given(values, "max_length"),
        temperature=given(values, "temperature"),
    )
    print(f"models: {', '.join(models)}", flush=True)
    if listening is None:
        serve_jetstream(models[name], given(values, "host"), given(values, "port"))
        return
    server = Server(models, limits, recorder=recorder)
    serve(server, listening, drain=given(values, "drain"))
    if recorder is not None:
        recorder.close()


def _adapters(listed: list[str]) -> dict[str, pathlib.Path]:
    found: dict[str, pathlib.Path] = {}
    for text in listed:
        name, sign, folder = text.partition("=")
        if not (name and sign and folder) or name in found:
            raise flags.Error(f"--adapters={text}: write NAME=RUN, each name once")
        found[name] = absolute(folder)
    return found


SERVE = Command(
    "serve",
    "Answers OpenAI's protocol over HTTP with a trained policy, its base, and further adapters.",
    _serve,
    positionals=(
        Positional("RUN", "The run whose policy is served, the --workdir of a training.", True),
    ),
    define=_define,
    examples=(
        "serve runs/quickstart --port=8000",
        "serve runs/quickstart --adapters=other=runs/other --record=conversations.jsonl",
        "serve --model=exported --name=mine",
    ),
)
