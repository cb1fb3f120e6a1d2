"""What is exported computes in transformers and PEFT what our model computes."""

import copy
import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax import nnx

from trustee_jax.models import LoRAConfig
from trustee_jax.weights import Companions, export_adapter, export_hf, open_checkpoint

KINDS = ("llama-tied-1e4", "llama-scaled-1e4", "qwen2-tied-1e6", "qwen2-untied-1e6",
         "qwen3-tied-1e6", "qwen3-untied-1e6")  # fmt: skip
LORAS = (LoRAConfig(4, 8.0), LoRAConfig(3, 10.0, ("q", "down")))
CASES = list(itertools.product(KINDS, LORAS))
IDS = [f"{kind}-{'some' if len(lora.targets) < 7 else 'all'}" for kind, lora in CASES]
TOKENS = np.random.default_rng(0).integers(0, 320, (2, 48))
# The largest difference, as a share of the largest logit: float32 in another order.
BOUND = 2e-6


@pytest.fixture(scope="module")
def companions():
    return Companions(open_checkpoint("random:llama").tokenizer(), card="# A card\n")


@pytest.fixture(params=CASES, ids=IDS)
def case(request, tiny):
    kind, lora = request.param
    return kind, lora, tiny.with_lora(kind, lora=lora, scan_layers=lora.rank == 3)


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


def assert_same(tiny, model, theirs, what):
    ours = np.asarray(tiny.logits(model, TOKENS))
    base = np.asarray(tiny.logits(model, TOKENS, use_lora=False))
    largest = np.abs(ours).max()
    difference = np.abs(ours - theirs).max() / largest
    print(f"\n{what}: largest difference {difference:.1e} of {largest:.3g}")
    assert difference < BOUND
    assert np.abs(ours - base).max() / largest > 1e4 * BOUND, "the adapter does something"


def test_a_merged_model_of_several_files_in_transformers(tmp_path, tiny, case, companions):
    kind, lora, model = case
    folder = export_hf(
        tmp_path / "out",
        model.config,
        nnx.state(model),
        companions,
        jnp.float32,
        lora_scale=lora.scale,
        shard_bytes=60_000,
    )
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    assert ("lm_head.weight" in index(folder)) == (kind.split("-")[1] != "tied")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert_same(tiny, model, logits_of(theirs), f"transformers, {kind}")


def index(folder):
    return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]


def test_an_adapter_in_peft(tmp_path, tiny, case, companions):
    peft = pytest.importorskip("peft", reason="the test extra brings peft")
    kind, lora, model = case
    folder = export_adapter(
        tmp_path / "out", model.config, nnx.state(model), lora, "someone/base", companions
    )
    base = copy.deepcopy(tiny.hf_model(kind))
    theirs = peft.PeftModel.from_pretrained(base, folder)
    assert_same(tiny, model, logits_of(theirs), f"PEFT, {kind}")
    # Merged by PEFT, it is the model that we merge.
    assert_same(tiny, model, logits_of(theirs.merge_and_unload()), f"PEFT merged, {kind}")


def test_an_adapter_has_the_files_that_peft_itself_writes(tmp_path, tiny, case, companions):
    peft = pytest.importorskip("peft", reason="the test extra brings peft")
    from safetensors.numpy import load_file

    kind, lora, model = case
    names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj",
             "gate": "gate_proj", "up": "up_proj", "down": "down_proj"}  # fmt: skip
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=[names[target] for target in lora.targets],
        task_type="CAUSAL_LM",
        revision="v2",
    )
    theirs = peft.get_peft_model(copy.deepcopy(tiny.hf_model(kind)), config)
    theirs.save_pretrained(tmp_path / "theirs")
    folder = export_adapter(
        tmp_path / "ours",
        model.config,
        nnx.state(model),
        lora,
        "someone/base",
        companions,
        revision="v2",
    )
    ours, expected = (
        load_file(where / "adapter_model.safetensors") for where in (folder, tmp_path / "theirs")
    )
    shapes = [{name: (x.shape, x.dtype) for name, x in file.items()} for file in (ours, expected)]
    assert shapes[0] == shapes[1]
    read = peft.PeftConfig.from_pretrained(folder)
    for field in ("peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "bias",
                  "target_modules", "fan_in_fan_out", "use_rslora", "modules_to_save",
                  "revision"):  # fmt: skip
        assert getattr(read, field) == getattr(config, field), field
    assert read.inference_mode
    assert read.base_model_name_or_path == "someone/base"
    assert (folder / "README.md").read_text() == "# A card\n"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == companions.tokenizer.chat_template
    assert not list(tmp_path.glob(".*"))
