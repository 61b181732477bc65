"""What transformers drops of a GGUF: scaled positions and the split of digits; put back, or refused in one line."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")

import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lema_local.errors import TrainingError
from lema_local.settings.models import resolve_model
from lema_local.training import gguf_fidelity
from lema_local.training.base import default_cache, gguf_tokenizer
from lema_local.training.gguf_fidelity import PROBE, mend_tokenizer, rope_parameters

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def frequencies(parameters: dict[str, Any]) -> Any:
    config = transformers.LlamaConfig(hidden_size=128, num_attention_heads=1, rope_parameters=parameters)
    return ROPE_INIT_FUNCTIONS["llama3"](config, device="cpu")[0]


def factors() -> Any:
    """By how much each of 64 frequencies is divided."""
    return 500_000.0 ** -(torch.arange(64) / 64) / frequencies(LLAMA3)


def write(path: Path, tensors: dict[str, Any], scaling: str | None = None) -> Path:
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    if scaling is not None:
        writer.add_string("llama.rope.scaling.type", scaling)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_scaled_positions_of_llama_3_are_read_from_the_files_tensor(tmp_path: Path) -> None:
    source = write(tmp_path / "a.gguf", {"rope_freqs.weight": factors()})
    found = rope_parameters(source, 500_000.0)
    assert found is not None
    assert found == {**LLAMA3, "factor": pytest.approx(8.0, rel=1e-5)}
    torch.testing.assert_close(frequencies(found), frequencies(LLAMA3))


def test_a_file_without_scaled_positions_has_none(tmp_path: Path) -> None:
    other = {"token_embd.weight": torch.ones(4)}
    assert rope_parameters(write(tmp_path / "a.gguf", other), 10_000.0) is None
    assert rope_parameters(write(tmp_path / "b.gguf", other, scaling="none"), 10_000.0) is None


@pytest.mark.parametrize(
    ("tensors", "scaling"),
    [
        ({"rope_freqs.weight": torch.linspace(1, 8, 64)}, None),
        ({"rope_factors_long.weight": torch.ones(4), "rope_factors_short.weight": torch.ones(4)}, None),
        ({"token_embd.weight": torch.ones(4)}, "yarn"),
    ],
    ids=["another curve", "two sets", "yarn"],
)
def test_another_scaling_is_refused(tensors: dict[str, Any], scaling: str | None, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"scales its positions .* Hub id") as caught:
        rope_parameters(write(tmp_path / "a.gguf", tensors, scaling), 500_000.0)
    assert "\n" not in str(caught.value)


def test_smollm2_trains_on_the_ids_that_llama_cpp_serves() -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    source = resolve_model("smollm2-135m-instruct").gguf()
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf_tokenizer(source, cache=default_cache()))
    served = llama_cpp.Llama(str(source), vocab_only=True, verbose=False)
    try:
        for text in (PROBE, "She pays  12 dollars and  345.", "It is 7:30, 1,200 km  9"):
            assert tokenizer.encode(text, add_special_tokens=False) == served.tokenize(
                text.encode(), add_bos=False, special=False
            )
    finally:
        served.close()


def test_a_tokenizer_of_other_ids_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llama_cpp")
    source = resolve_model("smollm2-135m-instruct").gguf()
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf_tokenizer(source, cache=default_cache()))
    ids = tokenizer.encode(PROBE, add_special_tokens=False)
    monkeypatch.setattr(gguf_fidelity, "_served_ids", lambda _source: ids)
    mend_tokenizer(tokenizer, source)
    monkeypatch.setattr(gguf_fidelity, "_served_ids", lambda _source: [*ids, 5])
    with pytest.raises(TrainingError, match=r"another tokenizer .*pre = smollm"):
        mend_tokenizer(tokenizer, source)
