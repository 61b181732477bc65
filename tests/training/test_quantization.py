"""NF4 in training: unpacked it is the same bit for bit, and the modules decide what is rounded, not their names."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("bitsandbytes")

import torch
import transformers
from tiny_model import write_tiny_model
from training_runs import SETTINGS

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings
from lema_local.training import model as models
from lema_local.training.base import BaseModel
from lema_local.training.lora_linear import base_weight
from lema_local.training.nf4 import nf4_folder
from lema_local.training.quantization import Nf4, nf4_matrices, nf4_values, unpack

# peft asks transformers for a name of before
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
SMALL = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "lfm2": {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_auto_adjust_ff_dim": False},
    "qwen3_5_text": {
        "layer_types": ["linear_attention", "full_attention"],
        "head_dim": 16,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
}


def write(directory: Path, family: str, **more: Any) -> Path:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **SMALL, **more)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return directory


def in_4_bits(place: Path, dtype: str, *, double: bool = True) -> Any:
    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return transformers.AutoModelForCausalLM.from_pretrained(
        place, dtype=getattr(torch, dtype), quantization_config=quantization, device_map="cpu"
    ).train()


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_unpacked_base_has_the_values_that_4_bits_stand_for(dtype: str, double: bool, tmp_path: Path) -> None:
    place = write(tmp_path, "llama")
    packed, plain = in_4_bits(place, dtype, double=double), in_4_bits(place, dtype, double=double)
    unpack(plain)
    full = transformers.AutoModelForCausalLM.from_pretrained(place)
    kind, checked = Nf4(double=double), 0
    for name, module in packed.named_modules():
        if type(module).__name__ == "Linear4bit":
            values = plain.get_submodule(name).weight
            assert torch.equal(values, base_weight(module))
            expected = nf4_values(full.get_submodule(name).weight.data.to(packed.dtype), kind)
            assert torch.equal(values, expected.to(packed.dtype))
            assert not values.requires_grad
            checked += 1
    assert checked == 14
    assert not any(type(module).__name__ == "Linear4bit" for module in plain.modules())
    if dtype == "float32":
        ids = torch.arange(3, 60)[None]
        with torch.no_grad():
            assert (plain(ids).logits - packed(ids).logits).abs().max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_nf4_folder_is_what_is_trained_over(family: str, tmp_path: Path) -> None:
    place = write(tmp_path / "plain", family, **FAMILIES[family])
    folder = nf4_folder(str(place), cache=tmp_path / "cache", nf4=Nf4(double=True), dtype="float32")
    served, trained = transformers.AutoModelForCausalLM.from_pretrained(folder).train(), in_4_bits(place, "float32")
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        assert (served(ids).logits - trained(ids).logits).abs().max() < 1e-4
        plain = transformers.AutoModelForCausalLM.from_pretrained(place).train()
        assert (plain(ids).logits - trained(ids).logits).abs().max() > 1e-2


@pytest.mark.parametrize("room", [64.0, 0.0], ids=["unpacked", "packed"])
@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_4_bits_are_those_of_the_file_s_weights_whatever_dtype_computes(
    stored: str, room: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(models, "ram_gib", lambda: room)
    place = write_tiny_model(tmp_path / "plain")
    full = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=getattr(torch, stored))
    full.save_pretrained(place)
    served = nf4_folder(str(place), cache=tmp_path / "cache", nf4=Nf4(double=True), dtype="bfloat16")
    rounded = transformers.AutoModelForCausalLM.from_pretrained(served, dtype=torch.bfloat16).state_dict()
    for dtype in ("float32", "bfloat16"):
        model = models.load_model(str(place), BaseModel(name="tiny", path=place), settings_of(dtype))
        frozen = [weights for weights in model.parameters() if not weights.requires_grad]
        assert {weights.dtype for weights in frozen} <= {getattr(torch, dtype), torch.uint8}
        layers = [(name, module) for name, module in model.named_modules() if hasattr(module, "lora_A")]
        assert len(layers) == 14
        for name, layer in layers:
            name = f"{name.removeprefix('base_model.model.')}.weight"
            expected = nf4_values(full.state_dict()[name], Nf4(double=True))
            assert torch.equal(base_weight(layer.base_layer), expected.to(getattr(torch, dtype)))
            assert torch.equal(rounded[name], expected.to(torch.bfloat16))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gguf_s_base_is_rounded_once_and_trains_over_the_same_values(
    dtype: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place, cache = str(write_tiny_model(tmp_path / "plain")), tmp_path / "cache"
    settings, base = settings_of(dtype), BaseModel(name="tiny", gguf_path=tmp_path / "tiny.gguf")
    rounded = models.load_model(place, BaseModel(name="tiny", path=Path(place)), settings).state_dict()

    def load(room: float) -> dict[str, Any]:
        monkeypatch.setattr(models, "ram_gib", lambda: room)
        return dict(models.load_model(place, base, settings, cache=cache).state_dict())

    load(room=0.0)
    assert not cache.exists()
    load(room=64.0)
    monkeypatch.setattr("bitsandbytes.functional.quantize_4bit", lambda *_, **__: pytest.fail("rounded again"))
    kept = load(room=64.0)
    assert kept.keys() == rounded.keys()
    for name, weights in kept.items():
        assert weights.dtype == rounded[name].dtype
        assert torch.equal(weights, rounded[name]), name


def test_a_mixture_of_experts_is_refused_in_one_line(tmp_path: Path) -> None:
    moe = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16}
    place = write(tmp_path, "qwen3_moe", **moe)
    with pytest.raises(TrainingError, match=r"mixture of 4 experts.*dense") as caught:
        models.load_model(str(place), BaseModel(name="moe", path=place), SETTINGS)
    assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match="mixture of 4 experts"):
        nf4_matrices(place)


def test_files_that_name_weights_otherwise_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = write(tmp_path, "llama")
    tensors = load_file(place / "model.safetensors")
    save_file({f"other.{name}": tensor for name, tensor in tensors.items()}, place / "model.safetensors")
    with pytest.raises(TrainingError, match=r"do not name model\.layers\.0"):
        nf4_matrices(place)


def settings_of(dtype: str) -> TrainingSettings:
    return TrainingSettings(compute_dtype=dtype, lora_r=4, gradient_checkpointing=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("room", [64.0, 0.0], ids=["unpacked", "packed"])
def test_no_layer_of_a_run_is_repacked_for_inference(
    room: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """bitsandbytes repacks a 4-bit layer that is evaluated on a CPU with bfloat16 units, and computes in bfloat16 from
    then on, in training too. Whatever room there is, and whatever mode the model is in, ours does not."""
    from lema_local.training.loss import keep_hidden_states

    monkeypatch.setattr(models, "ram_gib", lambda: room)
    place = write_tiny_model(tmp_path)
    model = models.load_model(str(place), BaseModel(name="tiny", path=place), settings_of("float32"))
    ids = torch.arange(3, 60)[None]
    layers = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and hasattr(module.weight, "quant_state")
    ]
    assert len(layers) == (0 if room else 14)
    before = [layer.weight.data.clone() for layer in layers]
    assert keep_hidden_states(model) is not None
    with torch.no_grad():
        for mode in (True, False, True):
            model.train(mode)
            model(input_ids=ids, use_cache=False)
    for layer, packed in zip(layers, before, strict=True):
        assert torch.equal(layer.weight.data, packed)
        assert not getattr(layer.weight.quant_state, "packing_format_for_cpu", False)


def test_packed_and_unpacked_bases_train_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place, logits = write_tiny_model(tmp_path), []
    for room in (64.0, 0.0):
        monkeypatch.setattr(models, "ram_gib", lambda room=room: room)
        model = models.load_model(str(place), BaseModel(name="tiny", path=place), settings_of("bfloat16")).train()
        torch.manual_seed(4)
        out = model(input_ids=torch.arange(3, 60)[None]).logits
        out.float().sum().backward()
        assert all(weights.grad.dtype == torch.float32 for weights in model.parameters() if weights.requires_grad)
        logits.append(out.detach())
    assert torch.equal(*logits)
