"""Where a model's chat template is: in its GGUF file, its folder, or the Hub's cache. Nothing is fetched.

A GGUF holds it in `tokenizer.chat_template`; a folder in chat_template.jinja, or in tokenizer_config.json.
"""

import json
from pathlib import Path
from typing import Any

from lema_local.errors import ProfileError
from lema_local.settings.chat import ChatFrame, chat_frame
from lema_local.settings.models import Model, tokenizer_json, tokenizer_text
from lema_local.settings.vocabulary import open_vocabulary


def frame_of(model: Model, *, system: str | None = None) -> ChatFrame:
    """The frame of a model by its own template. ProfileError where it has none that is at hand, or a broken one."""
    facts = _of_gguf(model.gguf_path) if model.gguf_path is not None else _of_folder(model.path or _cached(model))
    if facts is None:
        raise ProfileError(f'{model.name} has no chat template: leave prompt = "chat" out, or take a chat model.')
    try:
        return chat_frame(**facts, system=system)
    except ProfileError as error:
        raise ProfileError(f"{model.name}: {error}") from error


def _of_gguf(file: Path) -> dict[str, Any] | None:
    with open_vocabulary(file) as (model, vocabulary):
        import llama_cpp

        template = llama_cpp.llama_model_chat_template(model, None)
        if not template:
            return None

        def text(token: int) -> str:
            found = llama_cpp.llama_vocab_get_text(vocabulary, token) if token >= 0 else b""
            return str(found.decode("utf-8", "replace"))

        return {
            "template": template.decode("utf-8", "replace"),
            "bos_text": text(llama_cpp.llama_vocab_bos(vocabulary)),
            "eos_text": text(llama_cpp.llama_vocab_eos(vocabulary)),
            "adds_bos": bool(llama_cpp.llama_vocab_get_add_bos(vocabulary)),
        }


def _of_folder(folder: Path) -> dict[str, Any] | None:
    config = tokenizer_json(folder / "tokenizer_config.json")
    given = config.get("chat_template")
    if isinstance(given, list):  # several by name
        named = [each for each in given if isinstance(each, dict)]
        given = next((each.get("template") for each in named if each.get("name") == "default"), None)
    if (folder / "chat_template.jinja").is_file():
        given = tokenizer_text(folder / "chat_template.jinja")
    if not isinstance(given, str):
        return None
    bos = _token(config.get("bos_token"))
    return {
        "template": given,
        "bos_text": bos,
        "eos_text": _token(config.get("eos_token")),
        "adds_bos": _adds_bos(folder, config, bos),
    }


def _adds_bos(folder: Path, config: dict[str, Any], bos: str) -> bool:
    """Whether the tokenizer begins every text with its BOS: as its configuration says, else its post-processor."""
    said = config.get("add_bos_token")
    if isinstance(said, bool) or not bos:
        return bool(said and bos)
    after = tokenizer_json(folder / "tokenizer.json").get("post_processor")
    return json.dumps({"id": bos})[1:-1] in json.dumps(after)


def _cached(model: Model) -> Path:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        found = None
    else:
        found = try_to_load_from_cache(model.source, "tokenizer_config.json")
    if not isinstance(found, str):
        raise ProfileError(
            f"The chat template of {model.name} is not here: `hf download {model.source}`, or name a folder that has "
            "the model."
        )
    return Path(found).parent


def _token(given: Any) -> str:
    text = given.get("content") if isinstance(given, dict) else given
    return text if isinstance(text, str) else ""
