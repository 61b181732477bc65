"""model_card(): what a checkpoint is, from what it was made, and what it can do, in the Hub's Markdown.

    ---
    library_name: "peft"
    base_model: "HuggingFaceTB/SmolLM2-135M-Instruct"
    model-index: ...
    ---
    # lema adapter of smollm2-135m-instruct, step 40

What the records do not hold is said, with the command that makes it. Names and reasons in the records come from models
and users: all of them go through markdown.text, or into YAML as quoted strings.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.markdown import front_matter, table, text
from lema_local.records.store import Store, stage_sql
from lema_local.records.types import Checkpoint
from lema_local.settings.models import known_models
from lema_local.stages.checkpoints import FoundCheckpoint, find_checkpoint
from lema_local.stages.problems import OVERLAP
from lema_local.statistics.comparison import paired_comparison, wilson_interval
from lema_local.training.checkpoints import has_adapter, is_removed
from lema_local.training.lint import read_lint

Row = dict[str, Any]
_ANSWERS = ("dataset", "split", "base", "template", "sampling")  # what makes answers comparable


@dataclass(frozen=True, slots=True)
class _Result:
    """pass@1 of one model on one set of problems."""

    who: str  # this, cot, base
    dataset: str
    split: str
    base: str
    sampling: str
    by_problem: dict[str, bool]
    problems: int  # of the set: as many as others answered, else as the database has
    cut_off: int

    @property
    def name(self) -> str:
        return {"this": "this adapter", "cot": "cot adapter, same step", "base": "base model"}[self.who]

    @property
    def is_whole(self) -> bool:
        """Whether it has answered every problem of the set: a part of them makes a rate that compares with nothing."""
        return len(self.by_problem) == self.problems

    @property
    def part(self) -> str:
        return f"not yet whole: {len(self.by_problem)} of {self.problems} problems"

    @property
    def cells(self) -> list[str]:
        n, correct = len(self.by_problem), sum(self.by_problem.values())
        low, high = wilson_interval(correct, n)
        name = self.name if self.is_whole else f"{self.name} ({self.part})"
        return [
            name, f"{self.dataset} {self.split}", f"{correct}/{n}", f"{correct / n:.1%}", f"{low:.1%} to {high:.1%}",
            str(self.cut_off), self.base,
        ]  # fmt: skip


def model_card(db: Path, name: str) -> str:
    """The card of the checkpoint with this id (its beginning) or directory. Raises TrainingError where it is not in the
    database: a card without its data would say nothing."""
    store = Store(db, own_views=True)
    found = find_checkpoint(db, name)
    if found.record is None:
        raise TrainingError(f"{found.path} is no checkpoint of {db}: name the database it was trained from with --db.")
    rows = store.rows("from training_set where id = $id", id=found.record.training_set_id)
    manifest: Row = json.loads(rows[0]["manifest"]) if rows else {}
    results = _results(store.rows(stage_sql("card_results"), id=found.record.id))
    parts = [
        front_matter(_front(found.record, results)),
        _head(found, manifest),
        _data(found, manifest),
        _training(store, found.record),
        _evaluation(found.record, results),
        _rest(found.record),
    ]
    return "\n".join(parts)


def base_id(record: Checkpoint) -> str:
    """Its base model as the Hub names it; by its own name where the Hub has none."""
    entry = known_models().get(record.base_model, {})
    return str(entry.get("hub_id", record.base_model))


def _is_full(record: Checkpoint) -> bool:
    return bool(json.loads(record.settings).get("method") == "full")


def _front(record: Checkpoint, results: Sequence[_Result]) -> Row:
    licence = known_models().get(record.base_model, {}).get("license")
    fields: Row = {
        "library_name": "transformers" if _is_full(record) else "peft",
        "base_model": base_id(record),
        "base_model_relation": "finetune" if _is_full(record) else "adapter",
        **({"license": licence} if licence else {}),
        "pipeline_tag": "text-generation",
        "datasets": [record.dataset],
        "tags": ["lema", *([] if _is_full(record) else ["lora"]), "math", f"arm-{record.arm}"],
    }
    own = [result for result in results if result.who == "this" and result.is_whole]
    if own:
        fields["model-index"] = [
            {
                "name": f"{record.base_model} {record.arm} step {record.step}",
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {"name": r.dataset, "type": r.dataset, "split": r.split},
                        "metrics": [
                            {
                                "type": "pass@1",
                                "value": round(sum(r.by_problem.values()) / len(r.by_problem), 4),
                                "name": f"pass@1, n = {len(r.by_problem)}, greedy, served over {r.base}",
                            }
                        ],
                    }
                    for r in own
                ],
            }
        ]
    return fields


def _head(found: FoundCheckpoint, manifest: Row) -> str:
    record = found.record
    assert record is not None
    derived, examples = manifest.get("reference_derived", 0), manifest.get("examples", 0)
    first = ""
    if derived:
        first = (
            f"**{derived} of the {examples} examples that it was trained on were written from reference solutions "
            "by a program (`oracle`), not by a model: its results say nothing about any corrector.**\n\n"
        )
    whole = ""
    if is_removed(found.path):
        whole = "\nIts weights were removed here (`--keep`).\n"
    elif not has_adapter(found.path):
        whole = "\nIts files are gone or damaged here: `lema train` makes them anew.\n"
    kind, what = ("fine-tune", "All weights") if _is_full(record) else ("adapter", "A LoRA adapter")
    return (
        f"# {text(record.arm)} {kind} of {text(record.base_model)}, step {record.step}\n\n"
        f"{first}{what} trained with [LeMa](https://arxiv.org/abs/2310.20689) (learning from mistakes) by lema_local. "
        f"Checkpoint `{record.id}`, made {record.created_at:%Y-%m-%d}.\n{whole}"
    )


def _data(found: FoundCheckpoint, manifest: Row) -> str:
    record = found.record
    assert record is not None
    lines = ["## Data\n"]
    if not manifest:
        return lines[0] + "\nThe training set is not in this database: `lema data` builds it.\n"
    lines.append(
        f"Data set {text(record.dataset)}, arm {text(record.arm)}: {manifest['examples']} examples, "
        f"{manifest['cot']} CoT and {manifest['corrections']} corrections (training set `{record.training_set_id}`).\n"
    )
    if "chat" in manifest:
        lines.append("Its texts are turns of the base model's chat template: ask it by that template.\n")
    lines.append(table(["source", "examples"], list(manifest.get("sources", {}).items())))
    left_out = manifest.get("left_out", {})
    overlap = sum(n for reason, n in left_out.items() if reason.startswith(OVERLAP))
    lines.append(
        f"\nDecontamination: {overlap} train problems were left out because they overlap test or dev problems "
        "(`lema problems check`)."
    )
    if left_out:
        lines.append("Not used: " + "; ".join(f"{text(reason)} {n}" for reason, n in left_out.items()) + ".")
    lint = read_lint(found.path.parent)
    if lint is None:
        lines.append("Lint: not recorded beside this checkpoint; `lema train --lint` looks at every example.")
    else:
        lines.append(f"Lint before the first step: {lint.summary}.")
        lines += [f"- {text(line)}" for line in lint.lines()]
    return "\n".join(lines) + "\n"


def _training(store: Store, record: Checkpoint) -> str:
    settings: Row = json.loads(record.settings)
    if settings.get("accelerate_config"):  # a path of this machine
        settings["accelerate_config"] = Path(settings["accelerate_config"]).name
    rows = list(settings.items())
    measured = "Speed and memory: not recorded."
    if store.rows("select 1 as one from duckdb_tables() where table_name = 'training_metric'"):
        (row,) = store.rows(
            "select count(*) as steps, median(tokens_per_second) as rate, max(memory_gib) as memory "
            "from training_metric where run_id = $run and step <= $step",
            run=record.run_id,
            step=record.step,
        )
        if row["steps"]:
            measured = f"Median {row['rate']:.0f} tokens/s; peak memory {row['memory']:.1f} GiB."
    return (
        f"## Training\n\n{record.step} steps, {record.samples_seen} samples, {record.tokens_seen} tokens, seed "
        f"{record.seed}; last training loss {record.loss:.3f} nats per output token. {measured} The machine and the "
        "versions of its libraries are not recorded (`lema doctor` shows those here).\n\n"
        f"{table(['setting', 'value'], rows)}\n"
    )


def _results(rows: Sequence[Row]) -> list[_Result]:
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[(*(row[name] for name in _ANSWERS), row["who"])].append(row)
    own = {key[:-1] for key in groups if key[-1] == "this"}
    order = {"this": 0, "cot": 1, "base": 2}
    return [
        _Result(
            who=key[-1],
            dataset=group[0]["dataset"],
            split=group[0]["split"],
            base=group[0]["base"],
            sampling=group[0]["sampling"],
            by_problem={row["problem_id"]: row["is_correct"] for row in group},
            problems=group[0]["problems"],
            cut_off=sum(row["is_cut"] for row in group),
        )
        for key, group in sorted(groups.items(), key=lambda item: (item[0][:-1], order[item[0][-1]]))
        if key[:-1] in own
    ]


def _evaluation(record: Checkpoint, results: Sequence[_Result]) -> str:
    if not results:
        return "## Results\n\nNot evaluated yet: `lema eval` with the options of the training.\n"
    columns = ["model", "data", "correct", "pass@1", "95% interval (Wilson)", "cut off", "served over"]
    lines = [
        "## Results\n",
        "Zero-shot, greedy, one answer a problem.\n",
        table(columns, [r.cells for r in results]),
        "",
    ]
    for own in (result for result in results if result.who == "this"):
        if not own.is_whole:
            lines.append(f"- On {text(own.dataset)} it is {own.part}, and compared with nothing: `lema eval` goes on.")
            continue
        for other in results:
            alike = (other.dataset, other.split, other.base, other.sampling)
            if other.who == "this" or alike != (own.dataset, own.split, own.base, own.sampling):
                continue
            if other.who == "cot" and not other.is_whole:  # the base is compared on what it has answered
                continue
            both = sorted(own.by_problem.keys() & other.by_problem.keys())
            if both:
                p = paired_comparison([other.by_problem[k] for k in both], [own.by_problem[k] for k in both])
                lines.append(
                    f"- Against the {'cot adapter' if other.who == 'cot' else 'base model'} on {text(own.dataset)}, "
                    f"{p.n} problems: {100 * p.difference:+.1f} points ({100 * p.low:+.1f} to {100 * p.high:+.1f}, "
                    f"95%, Newcombe), {p.gained} gained, {p.lost} lost, exact McNemar p = {p.p_value:.2g}."
                )
    if record.arm != "cot" and not any(result.who == "cot" for result in results):
        lines.append("- No cot adapter of the same step is evaluated here to compare with: `lema train`, `lema eval`.")
    return "\n".join(lines) + "\n"


def _rest(record: Checkpoint) -> str:
    licence = known_models().get(record.base_model, {}).get("license")
    said = f"The base model's: {text(licence)}." if licence else "See the base model's licence, and the data set's."
    over = (
        "It was trained over the NF4 quantisation of the base: merged into other weights it is another model "
        "(`lema train merge` without --base keeps the one that was trained). "
        if record.quantization == "nf4"
        else ""
    )
    return (
        f"## Licence\n\n{said}\n\n## Limits\n\n{over}It answers in the format it was trained on (the paper's CoT "
        "input); its solutions may be wrong however sure they sound. One run of one seed: its results are those of "
        "this checkpoint, not of the method.\n"
    )
