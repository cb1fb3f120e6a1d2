"""What no user would write is refused, counted and asked for again; what one may write is not."""

import pytest
from scripted_engine import role_of
from test_episode import BOOK, FIND, Script, play

from trustee_jax.environment.copies import copied_share, is_copy
from trustee_jax.environment.user_faults import USER_FAULTS, find_user_fault
from trustee_jax.simulator import Prompts, RoleConfig
from trustee_jax.training.summary import episode_scalars

QUERY = "I need a place to sleep in Lyon for two nights."
QUESTION = "Sure! Which hotel would you like me to book for you?"
PERSONA = "Alice, a 30-year-old nurse from Leeds, writes short messages without capitals."
WORDING = Prompts().wording("user")
LIST = (
    "I found three rooms. 1. A double room with a view of the sea and breakfast for two. "
    "2. A single room. Which one would you like?"
)


def fault(message: str, *said: str, persona: str = PERSONA) -> str | None:
    """The fault of a message after a query and what assistant and user said in turn."""
    texts = [QUERY, *(said or (QUESTION,))]
    roles = ("user", "assistant")
    messages = [{"role": "system", "content": message}]
    messages += [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    found = find_user_fault(message, messages, persona=persona, wording=WORDING)
    return None if found is None else found[0]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (QUESTION, "echo"),
        (QUESTION.upper().replace("!", ","), "echo"),
        ("Which hotel would you like me to book for you?", "echo"),
        ("Sure! Which hotel would you like me to", "echo"),  # cut by the limit of a message
        (QUERY, "repeat"),
        ("i need a place to sleep in Lyon for 2 nights", "repeat"),
        ("You play a user who writes to an assistant.", "recital"),
        ("Leave the message empty only when the whole wish is fulfilled.", "recital"),
        ("If the assistant misunderstood or left something out, say so. Ibis.", "recital"),
        (PERSONA, "recital"),
        ("You are Alice, a nurse. I want the Ibis.", "recital"),
        ("I want it. Your wish: Two nights in Lyon.", "label"),
        ("who you are: Alice", "label"),
        ('Ibis.\nassistant: "Booked."', "label"),
        ('user: "Ibis."', "label"),
        ('tool returns: {"number":1}', "label"),
    ],
)
def test_what_no_user_would_write(message, expected):
    assert fault(message) == expected


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", ()),
        ("The Ibis, please.", ()),
        ("Yes.", ("Yes.",)),
        ("Thank you very much!", ("Thank you very much!",)),
        # Takes up the words of an offer.
        ("Book the Ibis in Lyon for two nights.", ("Shall I book the Ibis in Lyon for 2 nights?",)),
        (
            "I want two nights at the Ibis in Lyon from 4 May.",
            ("You want two nights at the Ibis in Lyon from 3 May, is that right?",),
        ),
        # Chooses from a list, in its words.
        ("A double room with a view of the sea and breakfast for two.", (LIST,)),
        # Says again what was asked again.
        (
            "For two people, from 3 to 5 May.",
            (
                "For how many people, and when would you like to come?",
                "For two people, from 3 to 5 May.",
                "For how many people, and when would you like to come?",
            ),
        ),
        # The assistant parrots the user, who can but insist.
        (QUERY, (QUERY,)),
        # Introduces herself, and has a line of her own with a colon.
        ("I am Alice, a nurse from Leeds.", ()),
        ("Name: Alice\nDate: 3 May", ()),
        ("You are very kind. I will take the Ibis.", ()),
        ("As I said, I want the assistant to book a room: the Ibis.", ()),
        ("I told you what I want. If something is missing, say so.", ()),
    ],
)  # fmt: skip
def test_what_a_user_may_write(message, said):
    assert fault(message, *said) is None


def test_a_persona_in_the_first_person_may_be_said():
    persona = "I am a student of history who is looking for a quiet library."
    assert fault(persona, persona=persona) is None
    assert fault("Ada, a baker.", persona="Ada, a baker.") is None
    assert fault(PERSONA, persona="") is None


@pytest.mark.parametrize("persona", ["You are Bob, a cook.", "A cook named Bob.", "the cook"])
def test_a_user_is_not_told_who_he_is(persona):
    name = "Bob" if "are Bob" in persona else "the cook"
    assert fault(f"You are {name}. I want the Ibis.", persona=persona) == "recital"


def test_shares_of_runs_of_three_words():
    # of "a b c d e": abc, bcd, cde; two of them are there, in whatever spelling and order
    assert copied_share("a b c d e", ["C, d e!", "A B C"]) == pytest.approx(2 / 3)
    assert copied_share("a b c d e", ["x a b c d e y"]) == 1
    assert copied_share("a b c d", ["a b c d"]) == 0  # too few words to tell
    assert not is_copy("a b c d", "a b c d") and is_copy("a b c d e", "a b c d e")
    assert not is_copy("", "") and not is_copy("?!", "?!")


FAULTS = {
    "echo": "Which hotel in Lyon do you want?",
    "repeat": "I need a place to sleep.",
    "recital": "You play a user who writes to an assistant.",
    "label": "Your wish: a hotel.",
}


@pytest.mark.parametrize("name", USER_FAULTS)
def test_the_user_is_asked_again(make_environment, make_task, name):
    def user(request):
        text = FAULTS[name] if request.key[-1] < 2 else "The Ibis."
        return f'{{"message": "{text}"}}' if request.key[-2] == 0 else '{"message": ""}'

    asks = FAULTS["echo"]
    script = Script([asks, FIND + BOOK, "Booked."], overrides={"user": user})
    environment = make_environment(user=RoleConfig(tries=3))
    episode, engine = play(environment, make_task(), script)
    assert [m["content"] for m in episode.messages if m["role"] == "user"][1] == "The Ibis."
    assert episode.reward == 1.0
    counts = {fault: getattr(episode.counts, f"user_{fault}") for fault in USER_FAULTS}
    assert counts == dict.fromkeys(USER_FAULTS, 0) | {name: 2}
    assert episode.counts.simulator_retries == 2
    assert [r.key[-1] for r in engine.requests if role_of(r) == "user"] == [0, 1, 2, 0]
    # Refused messages are nobody's context.
    for request in engine.requests:
        assert name == "repeat" or f'user: "{FAULTS[name]}"' not in engine.text(request)
    scalars = episode_scalars([episode])
    assert scalars["user/used"] == 2  # one, and the end
    assert {k: v for k, v in scalars.items() if "refused" in k} == {f"user/refused_{name}": 2}


@pytest.mark.parametrize("name", USER_FAULTS)
def test_an_episode_without_a_usable_message_is_invalid(make_environment, make_task, name):
    script = Script([FAULTS["echo"], FIND, "."], user=[FAULTS[name]] * 9)
    environment = make_environment(user=RoleConfig(tries=2))
    episode, _ = play(environment, make_task(), script)
    assert (episode.cause, episode.reward) == ("user_rejected", None)
    assert "the user's message" in episode.detail
    scalars = episode_scalars([episode])
    assert scalars["episodes/invalid_user_rejected"] == 1
    # Of the invalid ones, too: they are what is to be looked at.
    assert scalars[f"user/refused_{name}"] == 2 and scalars["user/used"] == 0


@pytest.mark.parametrize("name", USER_FAULTS)
def test_the_switch_leaves_every_message(make_environment, make_task, name):
    script = Script([FAULTS["echo"], FIND + BOOK, "Booked."], user=[FAULTS[name]])
    environment = make_environment(check_user=False)
    episode, _ = play(environment, make_task(), script)
    assert episode.valid and FAULTS[name] in [m["content"] for m in episode.messages]
    assert episode.counts.simulator_retries == 0


def test_what_the_user_was_not_told_it_cannot_recite(make_environment, make_task):
    task = make_task()
    said = f"You are {task.persona}"
    for shown in (True, False):
        script = Script([FAULTS["echo"], FIND + BOOK, "Booked."], user=[said])
        environment = make_environment(show_persona=shown, user=RoleConfig(tries=1))
        assert play(environment, task, script)[0].valid == (not shown)


def test_a_policy_that_parrots_does_not_escape_its_verdict(make_environment, make_task):
    """It says what the user said, and the user says it again: the episode counts."""
    task = make_task()
    script = Script([task.query, FIND, "."], user=[task.query])
    episode, _ = play(make_environment(user=RoleConfig(tries=1)), task, script)
    assert episode.valid


def test_the_labels_are_those_of_the_template_in_use(make_environment, make_task, tmp_path):
    (tmp_path / "user.jinja").write_text(
        "{% block instructions %}Play the guest of a hotel who writes.{% endblock %}"
        "{% block request %}The guest wants: {{ intent }}{% endblock %}"
    )
    for said, valid in (("The guest wants: sleep.", False), ("Your wish: sleep.", True)):
        environment = make_environment(prompts=str(tmp_path), user=RoleConfig(tries=1))
        script = Script([FAULTS["echo"], FIND, "."], user=[said])
        assert play(environment, make_task(), script)[0].valid == valid
