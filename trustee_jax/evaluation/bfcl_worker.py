"""The official BFCL data and checkers behind a pipe: a JSON request a line, a JSON reply a line.

Runs in an environment of its own, whose pins clash with ours, and imports nothing of this package:
`python bfcl_worker.py FOLDER`, where FOLDER is an empty one for the files that bfcl-eval wants to
write. Nothing of bfcl-eval is changed. Of what it imports, only what its checkers use is there; the
rest - vendors' clients, tables of the leaderboard, parsers of prompted models - is stood in for.

The checkers evaluate the text of calls. What they evaluate may read, but neither write nor start a
process nor open a connection.
"""

import contextlib
import copy
import importlib.metadata
import json
import os
import resource
import sys
import types
from collections.abc import Iterator

_MODEL = "policy"  # no "_" in it: bfcl-eval takes that for a "/" of the model's name
_UNUSED = (
    *("numpy", "pandas", "dotenv", "tqdm", "openai"),
    *(f"bfcl_eval.model_handler.parser.{language}_parser" for language in ("java", "js")),
)
_FORBIDDEN = (
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill", "os.putenv"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "shutil.", "subprocess.", "socket.", "ctypes."),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_MEMORY = 4 << 30  # bytes of address space: what a call may ask for is no larger than its answer
_LONGEST_REASON = 500


class _Unused(types.ModuleType):
    """A module whose names can be imported, but not used."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> None:
            raise NotImplementedError(f"{self.__name__}.{name} is not part of the checkers")

        # An exception, since handlers name errors of their clients to catch.
        return type(name, (Exception,), {"__init__": refuse})


class _Guard:
    """Forbids what a call could do to the machine, while it is entered."""

    def __init__(self) -> None:
        self._entered = False
        sys.addaudithook(self._audit)

    def __enter__(self) -> None:
        self._entered = True

    def __exit__(self, *error: object) -> None:
        self._entered = False

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._entered:
            return
        flags = arguments[2] if event == "open" else 0
        if event.startswith(_FORBIDDEN) or (isinstance(flags, int) and flags & _WRITING):
            raise PermissionError(f"a call must not use {event}")


class Benchmark:
    """What the requests ask for; the methods without a _ are those of the protocol."""

    def __init__(self) -> None:
        for name in _UNUSED:
            sys.modules[name] = _Unused(name)
        # The real one imports every vendor's client. FC models get the names of tools with "_" in
        # place of ".", which this tells the checkers.
        config = types.ModuleType("bfcl_eval.constants.model_config")
        entry = types.SimpleNamespace(underscore_to_dot=True)
        config.MODEL_CONFIG_MAPPING = {_MODEL: entry}  # type: ignore[attr-defined]
        sys.modules[config.__name__] = config

        from bfcl_eval import utils
        from bfcl_eval.constants import category_mapping, default_prompts
        from bfcl_eval.constants.enums import Language, ModelStyle, ReturnFormat
        from bfcl_eval.constants.type_mappings import GORILLA_TO_OPENAPI
        from bfcl_eval.eval_checker import eval_runner
        from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils
        from bfcl_eval.model_handler.api_inference.openai_completion import (
            OpenAICompletionsHandler,
        )
        from bfcl_eval.model_handler.utils import convert_to_tool

        # As the handler of an OpenAI model would decode answers; without its client.
        self._handler = OpenAICompletionsHandler.__new__(OpenAICompletionsHandler)
        self._handler.is_fc_model = True
        self._utils, self._runner, self._executor = utils, eval_runner, multi_turn_utils
        self._groups, self._prompts = category_mapping.TEST_COLLECTION_MAPPING, default_prompts
        self._enums = Language, ReturnFormat
        self._convert = lambda functions: convert_to_tool(
            functions, GORILLA_TO_OPENAPI, ModelStyle.OPENAI_COMPLETIONS
        )
        self._loaded: dict[str, dict[str, dict]] = {}
        self._names = 0
        self._guard = _Guard()

    def describe(self) -> dict:
        """What the benchmark is.

        Returns:
          `version`, `groups` (categories by group), `step_limit` (steps that a turn may take),
          `added_tools_text` (what the user says in a turn that only brings new tools).
        """
        return {
            "version": importlib.metadata.version("bfcl-eval"),
            "groups": self._groups,
            "step_limit": self._prompts.MAXIMUM_STEP_LIMIT,
            "added_tools_text": self._prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC,
        }

    def load(self, category: str) -> list[dict]:
        """All cases of a category, in the official order.

        Each with `id`, `turns` (the messages of each user turn), `tools` (OpenAI tools from which
        turn on, by its number) and `answer` (possible answers; None where there is nothing to
        compare with).
        """
        shown = self._utils.load_dataset_entry(category, include_prereq=False)
        cases = []
        for entry, checked in zip(shown, self._cases(category).values(), strict=True):
            functions, tools = list(entry["function"]), {"0": self._convert(entry["function"])}
            for turn, added in entry.get("missed_function", {}).items():
                functions += added
                tools[turn] = self._convert(functions)
            cases.append(
                {
                    "id": entry["id"],
                    "turns": entry["question"],
                    "tools": tools,
                    "answer": checked["answer"],
                }
            )
        return cases

    def check(self, case: str, result: object) -> dict:
        """The verdict on a single-turn answer: calls as [{name: arguments as JSON}], or a text."""
        category = self._utils.extract_test_category_from_id(case)
        entry, answer = self._case(case)
        common = (self._handler, case, result)
        with self._guard:
            if self._utils.is_relevance_or_irrelevance(category):
                return _verdict(
                    self._runner._evaluate_single_relevance_entry(*common, entry, _MODEL, category)
                )
            return _verdict(
                self._runner._evaluate_single_ast_entry(
                    *common, answer, entry, _MODEL, category, *self._languages(category)
                )
            )

    def execute(self, case: str, steps: list[list[dict]]) -> list[str]:
        """What the calls of the last step return, after those of the steps before.

        Nothing is kept from one request to the next, so that a worker that had to be started again
        goes on with every conversation.
        """
        entry, _ = self._case(case)
        results: list[str] = []
        with self._fresh_name() as name, self._guard:
            for calls in steps:
                results, _ = self._executor.execute_multi_turn_func_call(
                    self._handler.decode_execute(calls, has_tool_call_tag=False),
                    entry["initial_config"],
                    entry["involved_classes"],
                    name,
                    case,
                    long_context="long_context" in case,
                )
        return results

    def check_conversation(self, case: str, result: list[list[object]]) -> dict:
        """The verdict on a conversation: for each turn its answers, each as for `check`."""
        entry, answer = self._case(case)
        category = self._utils.extract_test_category_from_id(case)
        with self._fresh_name() as name, self._guard:
            found = self._runner._evaluate_single_multi_turn_entry(
                self._handler, case, result, answer, entry, name, category
            )
        return _verdict(found)

    @contextlib.contextmanager
    def _fresh_name(self) -> Iterator[str]:
        """A model's name that no other request had.

        The executor keeps the state of a conversation in its module, by the model's name and the
        case: under a name that was used before, a conversation would begin where another ended.
        """
        self._names += 1
        name = f"{_MODEL}{self._names}"
        try:
            yield name
        finally:
            kept = vars(self._executor)
            for variable in [variable for variable in kept if variable.startswith(f"{name}_")]:
                del kept[variable]

    def _languages(self, category: str) -> tuple[object, object]:
        """The language of the types in an answer, and of the answer."""
        language, form = self._enums
        if self._utils.is_java(category):
            return language.JAVA, form.JAVA
        if self._utils.is_js(category):
            return language.JAVASCRIPT, form.JAVASCRIPT
        return language.PYTHON, form.PYTHON

    def _case(self, case: str) -> tuple[dict, object]:
        """The entry and the answer that the checkers get, which may change them."""
        category = self._utils.extract_test_category_from_id(case)
        found = copy.deepcopy(self._cases(category)[case])
        return found["entry"], found["answer"]

    def _cases(self, category: str) -> dict[str, dict]:
        if category not in self._loaded:
            entries = self._utils.load_dataset_entry(
                category, include_prereq=False, include_language_specific_hint=False
            )
            answers = [None] * len(entries)
            if not self._utils.is_relevance_or_irrelevance(category):
                # In the order of the entries; some of their ids differ.
                found = self._utils.load_ground_truth_entry(category)
                answers = [one["ground_truth"] for one in found]
            self._loaded[category] = {
                entry["id"]: {"entry": entry, "answer": answer}
                for entry, answer in zip(entries, answers, strict=True)
            }
        return self._loaded[category]


def _verdict(found: dict) -> dict:
    """Whether the answer is right, and if not, why, in few words."""
    if found["valid"]:
        return {"valid": True, "reason": ""}
    error = found.get("error", "")
    details = error if isinstance(error, dict) else {}
    kind = found.get("error_type") or details.get("error_type", "")
    text = details.get("error_message", error)
    text = " ".join(map(str, text)) if isinstance(text, list) else str(text)
    return {"valid": False, "reason": f"{kind}: {text}"[:_LONGEST_REASON]}


def main() -> None:
    """Answers requests until there are no more."""
    # What evaluated calls print or read is none of the protocol.
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.environ["BFCL_PROJECT_ROOT"] = sys.argv[1]
    os.chdir(sys.argv[1])
    sys.dont_write_bytecode = True
    benchmark: Benchmark | None = None
    for line in requests:
        request = json.loads(line)
        try:
            benchmark = benchmark or Benchmark()
            reply = {"result": getattr(benchmark, request["method"])(**request["parameters"])}
        # Evaluated calls may raise anything, SystemExit too.
        except BaseException as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:_LONGEST_REASON]}
        print(json.dumps({"id": request["id"], **reply}), file=replies, flush=True)


if __name__ == "__main__":
    main()
