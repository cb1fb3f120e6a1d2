"""What code alone can say of an episode's outcome; no model is asked."""

from trustee_jax.environment.judges.evidence import Evidence
from trustee_jax.environment.judges.rules import find_violations
from trustee_jax.environment.records import Episode


def succeeded(episode: Episode) -> bool:
    """Whether every expected call was carried out with the values of the wish.

    And no attempt at a call could not be read.

    Args:
      episode: A valid one.
    """
    assert episode.ended is not None
    evidence = Evidence(
        task=episode.task,
        messages=episode.messages,
        calls=episode.calls,
        ended=episode.ended,
        world=episode.world,
        changes=episode.changes,
    )
    done = {"intent_met", "calls_correct"}
    # Whether the user was told is not what is counted here.
    found = find_violations(evidence, require_answer=False, require_values=True)
    objections = (violation.criterion in done for violation in found)
    return not (any(objections) or episode.counts.malformed_calls)
