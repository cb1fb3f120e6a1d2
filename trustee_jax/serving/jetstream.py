"""Our engine behind JetStream's Engine API, for JetStream's own orchestrator and gRPC server.

JetStream asks for single tokens: it prefills a prompt, inserts it into a slot, and has every slot
generate one token at a time. Our engine takes whole requests and does the same inside. So a prefill
only keeps the prompt, an insertion submits it, and a step gives out what each slot's answer has
gained, one token for each. The likeliest token is taken, as in JetStream's own examples.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import itertools
import logging
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from trustee_jax.engine import Engine, Request, Sampling
from trustee_jax.engine.types import NewTokens
from trustee_jax.errors import InputError
from trustee_jax.serving.models import ServedModel
from trustee_jax.serving.token_texts import TokenTexts
from trustee_jax.streams import Purpose

INSTALL = (
    "pip install --no-deps google-jetstream==0.2.2 && "
    "pip install grpcio protobuf tiktoken shortuuid prometheus_client"
)
"""Without its dependencies, one of which brings TensorFlow."""

# Lengths that JetStream pads prompts to.
_BUCKETS = [2**power for power in range(4, 16)]
# Stands for the beginning of a text, which JetStream puts before every prompt of ids.
_NO_TOKEN = -1


class JetStreamError(InputError):
    """JetStream is missing, or another version than this is written for."""


def import_jetstream() -> types.SimpleNamespace:
    """Imports JetStream without TensorFlow, and leaves the process's logging as it was.

    Returns:
      Its modules engine_api, tokenizer_api, tokenizer_pb2, config_lib and server_lib.

    Raises:
      JetStreamError: It cannot be imported.
    """
    if not hasattr(jax, "tree_map"):  # which it still calls
        setattr(jax, "tree_map", jax.tree.map)  # noqa: B010
    vocabularies = types.ModuleType("seqio.vocabularies")
    for name in ("Vocabulary", "SentencePieceVocabulary"):
        setattr(vocabularies, name, type(name, (), {}))
    # seqio brings TensorFlow, for vocabularies that are not used here.
    sys.modules.setdefault("seqio", types.ModuleType("seqio"))
    sys.modules.setdefault("seqio.vocabularies", vocabularies)
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    names = {
        "engine_api": "jetstream.engine.engine_api",
        "tokenizer_api": "jetstream.engine.tokenizer_api",
        "tokenizer_pb2": "jetstream.engine.tokenizer_pb2",
        "config_lib": "jetstream.core.config_lib",
        "server_lib": "jetstream.core.server_lib",
    }
    try:
        found = {name: importlib.import_module(module) for name, module in names.items()}
    except ImportError as error:
        raise JetStreamError(f"JetStream cannot be imported ({error}): {INSTALL}") from None
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
    return types.SimpleNamespace(**found)


class _Answer:
    """What a slot's request has gained, and how much of it was given out."""

    def __init__(self, prompt: np.ndarray) -> None:
        self.prompt = prompt
        self.ticket = 0
        self.tokens: collections.deque[int] = collections.deque()
        self.given = 0
        self.ended = False

    def tell(self, new: NewTokens) -> None:
        self.tokens += [int(token) for token in new.tokens]
        self.ended = new.finish is not None


def make_engine(model: ServedModel, jetstream: types.SimpleNamespace) -> Any:
    """An engine of JetStream's that answers with a model of ours.

    Args:
      model: What answers; nobody else may use its engine.
      jetstream: From `import_jetstream`.

    Returns:
      A `jetstream.engine.engine_api.Engine`.

    Raises:
      JetStreamError: The model's context is too short for the prompts that JetStream pads.
    """
    longest = [length for length in _BUCKETS if length < model.max_length]
    if not longest:
        raise JetStreamError(
            f"a context of {model.max_length} tokens is too short for JetStream: raise --max_length"
        )
    ours: Engine = model.engine
    tokenizer = _make_tokenizer(model, jetstream)

    class TrusteeEngine(jetstream.engine_api.Engine):  # type: ignore[name-defined]
        """See this module."""

        max_concurrent_decodes = ours.config.slots
        samples_per_slot = 1
        max_prefill_length = longest[-1]
        mesh = None
        colocated_cpus = None

        def __init__(self) -> None:
            self._numbers = itertools.count()

        def load_params(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {}

        def get_prefix_destination_sharding(self) -> None:
            return None

        def get_tokenizer(self) -> Any:
            return jetstream.tokenizer_pb2.TokenizerParameters()

        def build_tokenizer(self, metadata: Any) -> Any:
            return tokenizer

        def init_decode_state(self, *args: Any, **kwargs: Any) -> dict[int, _Answer]:
            return {}

        def prefill(
            self,
            *,
            params: Any,
            existing_prefix: Any = None,
            padded_tokens: Any,
            true_length: int,
            **_: Any,
        ) -> np.ndarray:
            if existing_prefix is not None:
                raise NotImplementedError("an existing prefix: the engine finds it in its cache")
            tokens = np.asarray(padded_tokens)[:true_length]
            return tokens[tokens != _NO_TOKEN].astype(np.int32)

        def insert(
            self, prefix: np.ndarray, decode_state: dict[int, _Answer], slot: int, **_: Any
        ) -> dict[int, _Answer]:
            if (before := decode_state.get(slot)) and not before.ended:
                ours.cancel(before.ticket)
            answer = _Answer(np.asarray(prefix))
            answer.ticket = ours.submit(
                Request(
                    tokens=answer.prompt,
                    max_new_tokens=model.max_length - len(answer.prompt),
                    key=(Purpose.SERVING, 0, next(self._numbers) % 2**32),
                    role=model.role,
                    sampling=Sampling(temperature=0.0),
                    stop_ids=model.format.stop_ids,
                ),
                answer.tell,
            )
            return {**decode_state, slot: answer}

        def generate(
            self, params: Any, decode_state: dict[int, _Answer], **_: Any
        ) -> tuple[dict[int, _Answer], Any]:
            while any(not (a.tokens or a.ended) for a in decode_state.values()):
                ours.step()
            # Token, whether it is one, and how many there were; an end without a token is none.
            data = np.zeros((self.max_concurrent_decodes, 3), np.int32)
            for slot, answer in decode_state.items():
                if answer.tokens:
                    answer.given += 1
                    data[slot] = answer.tokens.popleft(), 1, answer.given
            result = jetstream.engine_api.ResultTokens(
                data=data,
                tokens_idx=(0, 1),
                valid_idx=(1, 2),
                length_idx=(2, 3),
                samples_per_slot=1,
            )
            return decode_state, result

    return TrusteeEngine()


def _make_tokenizer(model: ServedModel, jetstream: types.SimpleNamespace) -> Any:
    format, texts = model.format, TokenTexts(model.format)

    class Tokenizer(jetstream.tokenizer_api.Tokenizer):  # type: ignore[name-defined]
        """The model's, in JetStream's form."""

        pad_id = 0
        bos_id = _NO_TOKEN
        eos_id = format.stop_ids[0]
        stop_tokens = frozenset(format.stop_ids)

        def encode(self, s: str, **kwargs: Any) -> tuple[np.ndarray, int]:
            tokens = format.encode(s)[-kwargs["max_prefill_length"] :]
            return tokens, len(tokens)

        def decode(self, token_ids: Sequence[int], **kwargs: Any) -> str:
            raw = b"".join(texts.bytes_of(int(id)) for id in token_ids)
            # JetStream joins the bytes of a character that several tokens write one by one.
            return (
                f"<0x{raw[0]:02X}>"
                if len(raw) == 1 and raw[0] > 127
                else raw.decode("utf-8", "replace")
            )

    return Tokenizer()


@contextlib.contextmanager
def running(model: ServedModel, host: str, port: int) -> Iterator[Any]:
    """JetStream's gRPC server while the block runs.

    Args:
      model: What answers.
      host: Address to listen on.
      port: Port to listen on.

    Yields:
      Its `JetStreamServer`.

    Raises:
      JetStreamError: JetStream is missing.
    """
    jetstream = import_jetstream()
    engine = make_engine(model, jetstream)
    # It would listen on every address.
    jetstream.server_lib._HOST = host
    config = jetstream.config_lib.ServerConfig(
        interleaved_slices=("device=1",),
        interleaved_engine_create_fns=(lambda devices: engine,),
    )
    logging.getLogger().setLevel(logging.WARNING)
    server = jetstream.server_lib.run(
        port=port, config=config, devices=jax.devices()[:1], jax_padding=False
    )
    try:
        yield server
    finally:
        server.stop()
