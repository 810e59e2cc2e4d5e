"""QLoRA: where it trains, what is asked in 4 bits, and that adapters are merged into whole weights alone."""

import importlib.util
import json
from dataclasses import asdict, replace

import pytest
import torch

from llm.dialogue import Example, Prompt
from llm.evaluation import eval_models
from llm.evaluation.eval_models import IN_4_BITS, ModelFolders, list_models
from llm.files import write_json
from llm.hub.export import merged_form, save_adapter_form
from llm.hub.info import read_info
from llm.hub.pretrained import CPU, check_trainable, load_adapted, load_base, load_finetuned, merge
from llm.hub.upstream import describe_tiny
from llm.training.lora import add_lora, describe, save_adapter
from tests.evaluation.test_hub_model import decoding
from tests.training.test_lora import FINETUNE, perturb

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes, the extra `qlora`, is not installed"
)
EXAMPLES = [Example("a/1", "eli5", "a", ("Why is the sky blue?",), "Air scatters blue light more than red light.")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny Mistral, and an adapter as QLoRA leaves it."""
    folder = tmp_path_factory.mktemp("models")
    base, adapter = folder / "base", folder / "mistral"
    base.mkdir()
    write_json(base / "tandem.json", asdict(describe_tiny(base)))
    adapted = add_lora(load_base(base)[0], FINETUNE)
    perturb(adapted, 0.05)
    save_adapter(adapter, adapted)
    write_json(adapter / "tandem.json", describe(read_info(base), replace(FINETUNE, quantize="nf4")))
    return base, adapter


@pytest.fixture
def models(folders, tmp_path, monkeypatch):
    """What is asked of the base model and the fine-tuned one."""
    for others in ("_trained_here", "_baselines"):
        monkeypatch.setattr(eval_models, others, lambda *_: [])
    base, adapter = folders
    return list_models(ModelFolders(tmp_path, tmp_path, tmp_path, base, adapter), CPU, 1, 256)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_training_in_4_bits_is_refused_without_cuda_and_says_why(device):
    with pytest.raises(ValueError, match=f"trains on CUDA only, and the device is {device} .* drops gradients"):
        check_trainable("nf4", torch.device(device))
    check_trainable("none", torch.device(device))
    check_trainable("nf4", torch.device("cuda"))


def test_both_models_say_that_they_are_asked_in_4_bits_and_depend_on_the_adapter(models, folders):
    assert [IN_4_BITS in model.real_name for model in models] == [True, True]
    assert [model.made_from for model in models] == [folders, folders]


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_bitsandbytes_a_model_in_4_bits_says_what_to_install(models):
    with pytest.raises(ValueError, match=r"needs bitsandbytes: pip install -e '\.\[qlora\]'"):
        models[0].load()


@needs_bitsandbytes
def test_both_models_are_asked_on_the_quantised_base(models, folders):
    base, mistral = (model.load() for model in models)
    kinds = {type(module).__name__ for module in base.model.modules() if isinstance(module, torch.nn.Linear)}
    assert kinds == {"Linear4bit", "Linear"}  # the head stays whole
    assert any("lora_A" in name for name, _ in mistral.model.named_parameters())
    whole = {"base": load_base(folders[0])[0], "mistral": load_finetuned(*folders)[0]}
    for asked in (base, mistral):
        rounded, exact = (
            replace(asked, model=one).loglik(EXAMPLES)[0].logprob for one in (asked.model, whole[asked.name])
        )
        assert rounded != exact and rounded == pytest.approx(exact, rel=0.02)
        assert asked.generate([Prompt(("Why?",))], decoding())


@needs_bitsandbytes
def test_an_adapter_is_not_merged_into_quantised_weights(folders):
    adapted, _ = load_adapted(*folders, quantize="nf4")
    with pytest.raises(ValueError, match="merged into unquantised weights only"):
        merge(adapted)


def test_the_adapter_of_a_quantised_base_is_exported_by_itself_and_merged_into_whole_weights(folders, tmp_path):
    form, _ = merged_form(*folders, ["Why?"])
    assert {p.dtype for p in form.network.parameters()} == {torch.float32}
    save_adapter_form(*folders, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text(encoding="utf-8"))
    assert config["peft_type"] == "LORA" and (tmp_path / "adapter/adapter_model.safetensors").is_file()
