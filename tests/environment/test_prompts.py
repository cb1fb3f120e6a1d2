import json
import pathlib

import pytest

from trustee_jax.environment import EnvironmentConfig, JudgeConfig, PolicyConfig, WorldConfig
from trustee_jax.errors import ConfigError
from trustee_jax.simulator import CRITERIA, Prompts, RoleConfig, Simulator, SimulatorConfig
from trustee_jax.simulator.schemas import planned_task_schema, task_schema
from trustee_jax.simulator.transcript import transcript

FINISHED = {
    "tools": [], "persona": None, "intent": None, "query": "q", "expected_calls": None,
    "history": ["h"], "ended": "user", "world": None, "changes": [],
    "criteria": CRITERIA[:1], "mode": "reasoned",
}  # fmt: skip


def test_criteria_are_listed_as_far_as_they_count():
    for count in range(1, 6):
        fields = FINISHED | {"criteria": CRITERIA[:count], "mode": "joint"}
        request = Prompts().messages("verifier", fields)[1]["content"]
        listed = [name for name in CRITERIA if f"- {name}: " in request]
        assert listed == list(CRITERIA[:count])


def test_questions_about_one_dialogue_differ_only_at_their_end():
    """The engine computes their common beginning once."""
    asked = [
        Prompts().messages("verifier", FINISHED | {"criteria": (name,)})[1]["content"]
        for name in CRITERIA
    ]
    assert len({text.rpartition("Is this true")[0] for text in asked}) == 1
    assert len({text.rpartition("Is this true")[2] for text in asked}) == len(CRITERIA)


@pytest.mark.parametrize(
    "ended",
    ["user", "user_turns", "assistant_turns", "tool_turns", "length", "context", "empty"],
)
def test_every_ending_has_words(ended):
    text = Prompts().messages("verifier", {**FINISHED, "ended": ended})[1]["content"]
    lines = text.splitlines()
    assert lines[lines.index("h") + 1].startswith("(")


def test_policy_prompts_get_shorter():
    lengths = [len(Prompts().policy(level)) for level in range(4)]
    assert lengths == sorted(lengths, reverse=True) and lengths[3] < 60
    assert "\n" not in Prompts().policy(3)


def test_own_folder_replaces_file_by_file(tmp_path):
    (tmp_path / "policy_brief.jinja").write_text("Help.")
    (tmp_path / "user.jinja").write_text(
        "{% block instructions %}I{% endblock %}{% block request %}{{ query | json }}{% endblock %}"
    )
    prompts = Prompts(str(tmp_path))
    assert prompts.policy(2) == "Help." and prompts.policy(3) == Prompts().policy(3)
    fields = {"tools": [], "persona": "", "intent": "", "query": 'a"b', "history": []}
    assert [m["content"] for m in prompts.messages("user", fields)] == ["I", '"a\\"b"']


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("user.jinja", "{% block instructions %}{% endblock %}", "block 'request'"),
        (
            "user.jinja",
            "{% block instructions %}{{ wish }}{% endblock %}{% block request %}{% endblock %}",
            "'wish' is undefined",
        ),
        (
            "user.jinja",
            "{% block instructions %}{% endblock %}{% block request %}{% endblock %}\nBe kind.",
            "'Be kind.' stands outside",
        ),
        (
            "user.jinja",
            "{{ query }}{% block instructions %}{% endblock %}{% block request %}{% endblock %}",
            "stands outside",
        ),
        ("tool.jinja", "{% block", "user.jinja|tool.jinja"),
        ("verifer.jinja", "", "rename it to one of task.jinja"),
        ("policy_brief.jinja", "{{ tools }}", "'tools' is undefined"),
    ],
)
def test_bad_templates(tmp_path, name, text, remedy):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=remedy) as error:
        Prompts(str(tmp_path))
    assert str(tmp_path / name) in str(error.value)


def test_missing_folder(tmp_path):
    with pytest.raises(ConfigError, match="existing folder"):
        Prompts(str(tmp_path / "none"))


def test_transcript():
    messages = [
        {"role": "system", "content": "SECRET"},
        {"role": "user", "content": 'Hi "there"\nassistant: "x"'},
        {
            "role": "assistant",
            "content": "Well",
            "reasoning_content": "SECRET",
            "tool_calls": [{"function": {"name": "f\n", "arguments": json.dumps({"a": "ü\n"})}}],
            "malformed_calls": [{"text": "{x", "problem": "p"}],
        },
        {"role": "tool", "name": "f", "content": '{"a":1}'},
        {"role": "assistant", "content": ""},
    ]
    assert transcript(messages) == [
        'user: "Hi \\"there\\"\\nassistant: \\"x\\""',
        'assistant: "Well"',
        'assistant calls: "f\\n"({"a": "\\u00fc\\n"})',
        'assistant attempts a call: "{x"',
        'tool returns: {"a":1}',
        'assistant: ""',
    ]
    messages[2]["malformed_calls"][0]["place"] = 0
    messages[4] = {"role": "assistant", "content": "{}", "unmarked_calls": ["f", "g"]}
    assert transcript(messages)[2:5] == [
        'assistant attempts a call: "{x"',
        'assistant calls: "f\\n"({"a": "\\u00fc\\n"})',
        'tool returns: {"a":1}',
    ]
    assert transcript(messages)[5:] == ['assistant: "{}"']
    assert transcript(messages, unmarked=True)[6:] == [
        "(that text calls f, g without the form of a call)"
    ]
    assert len(transcript(messages, width=10)[0]) <= 10 + len(" [...] ")
    assert len(transcript(messages, most_lines=2)) == 3


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: RoleConfig(tries=0), "tries"),
        (lambda: RoleConfig(think_budget=-1), "think_budget"),
        (lambda: WorldConfig(records=0), "records"),
        (lambda: JudgeConfig(threshold=1.0), "threshold"),
        (lambda: EnvironmentConfig(near_copy=0), "near_copy"),
        (lambda: PolicyConfig(max_tokens=0), "max_tokens"),
        (lambda: PolicyConfig(history="drop"), "history"),
        (lambda: EnvironmentConfig(max_parallel_calls=0), "max_parallel_calls"),
        (lambda: EnvironmentConfig(tool_result_limit=10), "tool_result_limit"),
    ],
)
def test_bad_options(make, field):
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.field == field


def test_answers_must_leave_room_for_prompts(chat_format):
    with pytest.raises(ConfigError, match=r"task\.max_tokens"):
        Simulator(chat_format, SimulatorConfig(), max_length=1000)


def test_lines_keep_their_numbers_when_some_are_left_out():
    """What a verifier cites is the line of the whole conversation."""
    messages = [{"role": "user", "content": str(i)} for i in range(10)]
    shown = transcript(messages, most_lines=4, numbered=True)
    assert shown[1] == '2. user: "1"' and shown[-1] == '10. user: "9"' and len(shown) == 5


def test_prompts_of_the_quickstart():
    """With and without records and values; what they do not replace comes from the package."""
    folder = pathlib.Path(__file__).parents[2] / "configs" / "quickstart_prompts"
    prompts = Prompts(str(folder))
    tools = [{"name": "find", "description": "Finds.", "parameters": {"required": ["city"]}}]
    fields = {"tools": tools, "category": "x", "calls": 1, "example": {}}
    aspects = {"persona": 0, "ambiguity": 0, "turns": 0}
    for values in (None, {"find": {"city": "string"}}):
        system, request = prompts.messages("task", fields | aspects | {"values": values})
        assert request["content"] == "Tools: find(city)"
        examples = [json.loads(line) for line in system["content"].splitlines() if line[:1] == "{"]
        assert len(examples) == 4
        for example in examples:
            schema = (
                task_schema(("x",), 1, 120) if values is None else planned_task_schema({}, 1, 9)
            )
            assert list(example) == schema["required"]
            (expected,) = example["expected_calls"]
            assert isinstance(expected, str if values is None else dict)
    call = {
        "tools": [*tools, tools[0] | {"name": "fin"}],
        "call": 'find({"city":"Lyon"})',
        "history": ["user: 1", 'assistant calls: fin({"x":1})', 'tool returns: {"y":2}'],
    }
    for world in (None, ["cities: (none)"]):
        system, request = prompts.messages("tool", call | {"world": world})
        assert request["content"].endswith('find({"city":"Lyon"}): Finds.')
        assert '{"y":2}' in request["content"]
        assert ("cities: (none)" in request["content"]) == (world is not None)
        assert ("changes" in system["content"]) == (world is not None)
    _, request = prompts.messages("tool", call | {"world": None, "call": "other({})"})
    assert request["content"].endswith("other({}): Unknown.")


def test_the_wording_of_a_template_is_what_no_field_fills_in(tmp_path):
    wording = Prompts().wording("user")
    assert {"Who you are:", "Your wish:", "Your next message?"} <= set(wording)
    assert "You play a user who writes to an assistant. Write the user's next message" in wording[0]
    # What it chooses from, and none of the comment at its head.
    verifier = Prompts().wording("verifier")
    assert "the user got everything they wanted, backed by tool results" in verifier
    assert not any("Asks for" in line or "{" in line for line in (*wording, *verifier[:3]))
    (tmp_path / "user.jinja").write_text(
        "{% block instructions %}\n  - Be brief.\n\n{{ query }}: ask{% endblock %}"
        '{% block request %}{{ "Go" if tools else "Stay" }} on{% endblock %}'
    )
    lines = Prompts(str(tmp_path)).wording("user")
    assert sorted(lines) == ["- Be brief.", ": ask", "Go", "Stay", "on"]
    assert Prompts(str(tmp_path)).wording("tool") == Prompts().wording("tool")
