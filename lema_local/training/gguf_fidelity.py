"""What transformers drops of a GGUF file, put back, so that the model that is trained is the one that is served.

    rope_freqs.weight = [1, 1, ..., 1.6, ..., 8, 8]  ->  {"rope_type": "llama3", "factor": 8.0, ...}    Llama 3.1, 3.2
    tokenizer.ggml.pre = "smollm"                    ->  each digit is a word of its own before BPE

transformers 5 reads neither. What it drops otherwise is refused: another scaling of positions, and a tokenizer whose
ids for a probe text are not llama.cpp's (compared where llama-cpp-python is installed).
"""

import importlib.util
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.training.packages import require

# What Llama 3.1 and 3.2 were published with; `factor` alone differs (8 and 32).
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
_FACTORS = "rope_freqs.weight"
_TOLERANCE = 1e-3
# What splits texts in different ways: blanks before digits, digits of other scripts, contractions, line ends, accents.
PROBE = (
    "Nora has  5 pens and   12.  It's 1,234.50 $ 3x\n\n 7\t8 ½ ² ٣ it'S I'LL don't naïve 東京 9時 a_b __ !!! \r\n end  "
)


def rope_parameters(source: Path, rope_theta: float) -> dict[str, Any] | None:
    """transformers' `rope_parameters` for the scaling that a GGUF file has by its tensors; None for one without.
    Raises TrainingError for a scaling that is not Llama 3's."""
    torch, gguf = require("torch"), require("gguf")
    reader = gguf.GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    kind = reader.fields.get(f"{architecture}.rope.scaling.type")
    if kind is not None and kind.contents() != "none":
        raise TrainingError(_refused(source, f"rope.scaling.type {kind.contents()}"))
    tensors = {tensor.name: tensor for tensor in reader.tensors if tensor.name.startswith("rope_")}
    if not tensors:
        return None
    if set(tensors) != {_FACTORS}:
        raise TrainingError(_refused(source, ", ".join(sorted(tensors))))
    given = torch.tensor(tensors[_FACTORS].data.copy()).float()
    scaled = {"rope_type": "llama3", "rope_theta": rope_theta, "factor": given.max().item(), **_LLAMA3}
    if not torch.allclose(_factors(scaled, len(given)), given, rtol=_TOLERANCE):
        raise TrainingError(_refused(source, _FACTORS))
    return scaled


def _factors(scaled: dict[str, Any], count: int) -> Any:
    """By how much transformers divides each frequency."""
    transformers, init = require("transformers"), require("transformers.modeling_rope_utils").ROPE_INIT_FUNCTIONS
    torch = require("torch")
    config = transformers.LlamaConfig(hidden_size=2 * count, num_attention_heads=1, rope_parameters=scaled)
    frequencies, _ = init["llama3"](config, device="cpu")
    return scaled["rope_theta"] ** -(torch.arange(count) / count) / frequencies


def _refused(source: Path, what: str) -> str:
    return (
        f"{source.name} scales its positions ({what}) in a way that transformers does not read from a GGUF: train the "
        "model's own folder or Hub id."
    )


def mend_tokenizer(tokenizer: Any, source: Path) -> None:
    """Have the tokenizer that transformers read from a GGUF split digits where the file says so. Raises TrainingError
    where its ids for the probe are not llama.cpp's."""
    gguf, splitters = require("gguf"), require("tokenizers").pre_tokenizers
    pre = gguf.GGUFReader(source).fields.get("tokenizer.ggml.pre")
    if pre is not None and pre.contents() == "smollm":  # as in SmolLM2's tokenizer.json
        words = splitters.ByteLevel(add_prefix_space=False, use_regex=True)
        splitter = splitters.Sequence([splitters.Digits(individual_digits=True), words])
        tokenizer.backend_tokenizer.pre_tokenizer = splitter
    if importlib.util.find_spec("llama_cpp") is None:
        return
    served = _served_ids(source)
    if served is not None and tokenizer.encode(PROBE, add_special_tokens=False) != served:
        name = pre.contents() if pre is not None else "none"
        raise TrainingError(
            f"{source.name} is read with another tokenizer than it is served with (tokenizer.ggml.pre = {name}): train "
            "the model's own folder or Hub id."
        )


def _served_ids(source: Path) -> list[int] | None:
    """llama.cpp's ids for the probe; None for a file that it does not load."""
    llama_cpp = require("llama_cpp")
    try:
        model = llama_cpp.Llama(str(source), vocab_only=True, verbose=False)
    except (ValueError, RuntimeError):
        return None
    try:
        return list(model.tokenize(PROBE.encode(), add_bos=False, special=False))
    finally:
        model.close()
