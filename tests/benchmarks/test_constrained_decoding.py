"""The comparison asks with the real prompts, whatever fields these come to take."""

import constrained_decoding

from trustee_jax.chat import ChatFormat
from trustee_jax.simulator import Simulator, SimulatorConfig
from trustee_jax.weights import open_checkpoint


def test_prompts_of_both_roles_are_written():
    format = ChatFormat(open_checkpoint("random:qwen2").tokenizer())
    config = SimulatorConfig()
    prompts = constrained_decoding.make_prompts(Simulator(format, config, 30_000), 4)
    texts = [format.decode(tokens) for tokens, _ in prompts]
    assert ["You examine" in text for text in texts] == [False, True, False, True]
    assert ["Result of " in text for text in texts] == [True, False, True, False]
    assert len(set(texts)) == 4
