"""What stands beside an exported arm: the data card, and the configuration that its trainer reads. Pure.

An arm in a shape is `train.jsonl` (or .parquet); the folder around it is a data set that `datasets.load_dataset` reads:

    lema-gsm8k/README.md            the card: the Hub's header; reference-derived share, counts, sources, tokens, use
    lema-gsm8k/train.jsonl          {"prompt": "Please solve ...", "completion": "48 / 2 = 24 ... The answer is 72."}
    lema-gsm8k/dataset_info.json    (llama-factory)  or axolotl.yml (axolotl)

Formats from the documentation of TRL 1 (prompt-completion, conversational), axolotl 0.19 (user-defined dataset types)
and LLaMA-Factory 0.9 (data/README.md: dataset_info.json, alpaca formatting; templates empty and fewshot).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from lema_local.examples.pairs import Pairs
from lema_local.markdown import front_matter, table, text

Shape = Literal["plain", "trl", "trl-chat", "messages", "axolotl", "llama-factory", "dpo", "dpo-chat"]
SHAPES: tuple[str, ...] = get_args(Shape)
PAIR_SHAPES = ("dpo", "dpo-chat")  # of preference pairs (examples/pairs.py), not of the arm's examples
CHAT_SHAPES = ("trl-chat", "messages", "dpo-chat")  # which a trainer puts the model's chat template around
CARD_MARK = "<!-- written by lema export -->"  # a card that we may write anew

_EVALUATE_CHAT = 'A student trained so is evaluated with its template too: `prompt = "chat"` of [endpoints.student].'
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TOKENS = {
    "prompt": "in prompts",
    "output": "in outputs",
    "longest_prompt": "in the longest prompt",
    "longest_output": "in the longest output",
}
_USE: dict[str, str] = {
    "plain": "Columns: kind (cot, correction), prompt, output, source_id, problem_id. Train on the output alone.",
    "trl": (
        "TRL's prompt-completion format: `SFTTrainer(train_dataset=...)` takes loss on the completion alone and adds "
        "EOS. The base tokenizer's BOS is what the trainer adds: make sure that there is exactly one."
    ),
    "trl-chat": (
        "TRL's conversational prompt-completion format: `SFTTrainer(train_dataset=...)` puts the model's chat template "
        f"around the texts and takes loss on the completion alone, with any template. {_EVALUATE_CHAT}"
    ),
    "messages": (
        "Conversations, for trainers that put the model's chat template around them and take loss on the assistant's "
        "turn (axolotl: `type: chat_template`). TRL's `assistant_only_loss` wants a template with generation marks, "
        f"which few models have: for TRL export `--shape trl-chat`. {_EVALUATE_CHAT}"
    ),
    "axolotl": (
        "axolotl: the `datasets` entry is in axolotl.yml, with the path of this folder as it was written: change it "
        "where the folder moves. Keep `train_on_inputs: false`. Nothing is put around the prompt, EOS is added."
    ),
    "dpo": (
        "TRL's preference format: `DPOTrainer(train_dataset=...)` takes it as it is, and so does `KTOTrainer`, which "
        "parts each pair into a good and a bad example. Train on it after the SFT on the arm."
    ),
    "dpo-chat": (
        "TRL's conversational preference format, for `DPOTrainer` and `KTOTrainer`: the model's chat template goes "
        f"around the texts. Train on it after the SFT on the arm. {_EVALUATE_CHAT}"
    ),
    "llama-factory": (
        "LLaMA-Factory: `dataset_dir` is this folder, `dataset` the name in dataset_info.json, `template: fewshot` "
        "(raw text; it ends outputs with a blank line and EOS, and adds no BOS). `template: empty` would add no EOS: "
        "the student would not learn to stop. Do not use a chat template, or evaluate with it too."
    ),
}


def sidecars(shape: Shape, name: str, data_file: Path) -> dict[str, str]:
    """File name -> text of the configuration that goes with a shape; {} where there is none. `data_file`: its absolute
    path, because axolotl looks from wherever it is started."""
    if shape == "llama-factory":
        columns = {"prompt": "instruction", "response": "output"}
        info = {name: {"file_name": data_file.name, "formatting": "alpaca", "columns": columns}}
        return {"dataset_info.json": json.dumps(info, indent=2) + "\n"}
    if shape == "axolotl":
        kind = "parquet" if data_file.suffix == ".parquet" else "json"
        lines = (
            "train_on_inputs: false",
            "datasets:",
            f"  - path: {json.dumps(str(data_file), ensure_ascii=False)}",
            f"    ds_type: {kind}",
            "    type:",
            '      system_prompt: ""',
            "      field_instruction: instruction",
            "      field_output: output",
            '      format: "{instruction}"',
            '      no_input_format: "{instruction}"',
        )
        return {"axolotl.yml": "\n".join(lines) + "\n"}
    return {}


def card(
    shape: Shape,
    manifest: Mapping[str, Any],
    *,
    dataset: str,
    data_file: str,
    rows: int,
    pairs: Pairs | None = None,
) -> str:
    """The data card of an exported arm, from its manifest: the Hub's header, then Markdown whose first line is the
    reference-derived share. Names may come from a database of others: none gets out of its place.

    `rows` of the manifest's examples are at hand: fewer than it counts where the database holds a part of them.
    `pairs`: what a shape of pairs holds, made from their corrections.
    """
    m, tokens, augmentation = manifest, manifest["tokens"], manifest.get("augmentation")
    about = (
        [
            f"{len(pairs.pairs)} preference pairs, made from the corrections of this arm: `prompt` asks the question, "
            "`rejected` is a model's mistake, `chosen` its steps before the incorrect one and then the correction.",
            "",
            *(f"- no pair: {count} x {reason}" for reason, count in pairs.left_out.items()),
            *([""] if pairs.left_out else []),
            "The arm:",
            "",
        ]
        if pairs
        else []
    )
    derived = m["reference_derived"]  # corrections, and what other arms make of them
    counted = ", ".join(f"{tokens[name]} {what}" for name, what in _TOKENS.items())
    lines = [
        front_matter(_header(manifest, dataset=dataset, data_file=data_file, rows=len(pairs.pairs) if pairs else rows)),
        f"{derived} of {m['examples']} examples are reference-derived ({derived / max(m['examples'], 1):.0%}): an "
        "oracle wrote those from reference solutions, and they say nothing about any corrector model.",
        "",
        CARD_MARK,
        f"# {text(m['arm'])} of {text(dataset)}",
        "",
        *about,
        *([f"**A part: {rows} of its {m['examples']} examples.**", ""] if rows < m["examples"] else []),
        f"{m['examples']} examples: {m['cot']} CoT and {m['corrections']} corrections, by the method of LeMa "
        "(arXiv 2310.20689).",
        "",
        table(["source", "examples"], list(m["sources"].items())),
        "",
        f"- training set `{m['training_set']}`, seed {m['seed']}: the same records give the same id",
        f"- tokens: {counted} (counted by {text(tokens['counted_by'])}). Cut none of them: a cut output has no end, a "
        "cut prompt no question.",
        *([f"- CoT augmentation: {_books(augmentation)}"] if augmentation else []),
        *(f"- left out: {count} x {text(reason)}" for reason, count in m["left_out"].items()),
        "",
        "## Use",
        "",
        f"`datasets.load_dataset(FOLDER)` reads {data_file}. {_USE[shape]}",
        "",
        "## Licence",
        "",
        f"Questions and gold solutions are under the licence of {text(dataset)}; rationales and corrections are model "
        "output, under the terms of the models named above. Check both before you pass this data on.",
        "",
    ]
    return "\n".join(lines)


def _header(manifest: Mapping[str, Any], *, dataset: str, data_file: str, rows: int) -> dict[str, Any]:
    """The card's YAML (format: hf.co/docs/hub/datasets-cards). No licence: who passes the data on must say it."""
    return {
        "pretty_name": f"{manifest['arm']} of {dataset}",
        "task_categories": ["text-generation"],
        "size_categories": [next((size for below, size in _SIZES if rows < below), "n>1M")],
        "tags": ["lema", "math", f"arm-{manifest['arm']}"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": data_file}]}],
    }


def _books(augmentation: Mapping[str, Any]) -> str:
    rejected = ", ".join(f"{count} {reason}" for reason, count in augmentation["rejected"].items())
    return (
        f"{augmentation['sampled']} paths sampled, {augmentation['kept']} kept, "
        f"{sum(augmentation['rejected'].values())} rejected{f' ({rejected})' if rejected else ''}, "
        f"{augmentation['duplicates']} duplicates dropped"
    )
