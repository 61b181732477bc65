"""What stands beside an exported arm: the data card, and the configuration that its trainer reads. Pure.

An arm in a shape is `train.jsonl` (or .parquet); the folder around it is a data set that `datasets.load_dataset` reads:

    lema-gsm8k/README.md            the card: reference-derived share first, counts, sources, tokens, how to train
    lema-gsm8k/train.jsonl          {"prompt": "Please solve ...", "completion": "48 / 2 = 24 ... The answer is 72."}
    lema-gsm8k/dataset_info.json    (llama-factory)  or axolotl.yml (axolotl)

Formats from the documentation of TRL 1 (prompt-completion, conversational), axolotl 0.19 (user-defined dataset types)
and LLaMA-Factory 0.9 (data/README.md: dataset_info.json, alpaca formatting; templates empty and fewshot).
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

Shape = Literal["plain", "trl", "messages", "axolotl", "llama-factory"]
SHAPES: tuple[str, ...] = get_args(Shape)
CARD_MARK = "<!-- written by lema export -->"  # a card that we may write anew

_USE: dict[str, str] = {
    "plain": "Columns: kind (cot, correction), prompt, output, source_id, problem_id. Train on the output alone.",
    "trl": (
        "TRL's prompt-completion format: `SFTTrainer(train_dataset=...)` takes loss on the completion alone and adds "
        "EOS. The base tokenizer's BOS is what the trainer adds: make sure that there is exactly one."
    ),
    "messages": (
        "Conversations: the trainer puts the model's chat template around the texts, so such a student must be "
        "evaluated with it too, which `lema eval` does not do. In TRL set `assistant_only_loss=True`."
    ),
    "axolotl": (
        "axolotl: the `datasets` entry is in axolotl.yml; keep `train_on_inputs: false`. Nothing is put around the "
        "prompt, EOS is added."
    ),
    "llama-factory": (
        "LLaMA-Factory: `dataset_dir` is this folder, `dataset` the name in dataset_info.json, `template: fewshot` "
        "(raw text; it ends outputs with a blank line and EOS, and adds no BOS). `template: empty` would add no EOS: "
        "the student would not learn to stop. Do not use a chat template, or evaluate with it too."
    ),
}


def sidecars(shape: Shape, name: str, data_file: str) -> dict[str, str]:
    """File name -> text of the configuration that goes with a shape; {} where there is none."""
    if shape == "llama-factory":
        columns = {"prompt": "instruction", "response": "output"}
        info = {name: {"file_name": data_file, "formatting": "alpaca", "columns": columns}}
        return {"dataset_info.json": json.dumps(info, indent=2) + "\n"}
    if shape == "axolotl":
        kind = "parquet" if data_file.endswith(".parquet") else "json"
        lines = (
            "train_on_inputs: false",
            "datasets:",
            f"  - path: {data_file}",
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


def card(shape: Shape, manifest: Mapping[str, Any], *, dataset: str, data_file: str, rows: int) -> str:
    """The data card of an exported arm, from its manifest: Markdown whose first line is the reference-derived share.
    `rows` are exported: fewer than the manifest's examples where the database holds a part of them."""
    corrections, derived = manifest["corrections"], manifest["corrections_reference_derived"]
    share = f"{derived / corrections:.0%}" if corrections else "there are none"
    tokens, augmentation = manifest["tokens"], manifest["augmentation"]
    lines = [
        f"{derived} of {corrections} corrections are reference-derived ({share}): an oracle wrote those from reference "
        "solutions, and they say nothing about any corrector model.",
        "",
        CARD_MARK,
        f"# {manifest['arm']} of {dataset}",
        "",
        *([f"**A part: {rows} of its {manifest['examples']} examples.**", ""] if rows < manifest["examples"] else []),
        f"{manifest['examples']} examples: {manifest['cot']} CoT and {manifest['corrections']} corrections, by the "
        "method of LeMa (arXiv 2310.20689).",
        "",
        "| source | examples |",
        "|---|---|",
        *(f"| {source} | {count} |" for source, count in manifest["sources"].items()),
        "",
        f"- training set `{manifest['training_set']}`, seed {manifest['seed']}: the same records give the same id",
        f"- tokens: {tokens['prompt']} in prompts, {tokens['output']} in outputs; the longest prompt has "
        f"{tokens['longest_prompt']}, the longest output {tokens['longest_output']} (counted by "
        f"{tokens['counted_by']}). Cut none of them: a cut output has no end, a cut prompt no question.",
        *([f"- CoT augmentation: {_books(augmentation)}"] if augmentation else []),
        *(f"- left out: {count} x {reason}" for reason, count in manifest["left_out"].items()),
        "",
        "## Use",
        "",
        f"`datasets.load_dataset(FOLDER)` reads {data_file}. {_USE[shape]}",
        "",
        "## Licence",
        "",
        f"Questions and gold solutions are under the licence of {dataset}; rationales and corrections are model "
        "output, under the terms of the models named above. Check both before you pass this data on.",
        "",
    ]
    return "\n".join(lines)


def _books(augmentation: Mapping[str, Any]) -> str:
    rejected = ", ".join(f"{count} {reason}" for reason, count in augmentation["rejected"].items())
    return (
        f"{augmentation['sampled']} paths sampled, {augmentation['kept']} kept, "
        f"{sum(augmentation['rejected'].values())} rejected{f' ({rejected})' if rejected else ''}, "
        f"{augmentation['duplicates']} duplicates dropped"
    )
