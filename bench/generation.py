"""Tokens a second of the recipes that serve a GGUF on this CPU, in one run.

    python bench/generation.py [--model smollm2-135m-instruct] [--problems 48] [--tokens 160] [--repeats 3] [--forms]

Every recipe answers the same prompts, those of the profile laptop, by HTTP and through the client of a run; starting
its servers is not counted. "busy" is the servers' CPU time as a share of all that the cores had to give. `--tool`
(bench/batched_bench.sh builds it) adds llama.cpp's own bench tool, without HTTP, client or sampling: as many processes
of one thread as there are cores, each with 16 sequences of the prompts' and answers' mean length. `--forms` prints the
table of forms and batch sizes instead, of one thread, by CPU time; `--greedy` the share of greedy texts and grades that
stay the same in another form, or beside other calls in a batch. A measurement, not a test: it never fails on time.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabulate import tabulate

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.calls.client import Client
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.calls.replies import Reply
from lema_local.hardware import cores
from lema_local.prompts import COT_TEMPLATE, render, stop_texts
from lema_local.records.types import Problem
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import Endpoints, ResolvedEndpoint
from lema_local.serving.forms import weights_in_form
from lema_local.serving.llama_batches import Batches
from lema_local.serving.prefix import common_prefix, share_prefix
from lema_local.serving.process import open_recipe
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.profiles import load_profile
from lema_local.stages.run import Experiment
from lema_local.stages.sample import prompts, wanted_of
from lema_local.statistics.comparison import mcnemar_exact

FORMS = ("file", "bf16", "f16", "q8_0", "q4_0")
BATCHES = (1, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a recipe did with all the prompts."""

    tokens: int
    prompt_tokens: int
    read_tokens: int  # of them, without those that a cache had
    wall_s: float
    cpu_s: float  # of its servers
    memory_mb: float  # of its largest server, at its end

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.wall_s

    @property
    def busy(self) -> float:
        return self.cpu_s / self.wall_s / cores()


def measure(resolved: ResolvedEndpoint, asked: Sequence[Prompt], sampling: Sampling, folder: Path) -> Measured:
    """All prompts by one recipe; the start of its server is not counted."""
    with open_recipe(resolved, options=ServeOptions(log_directory=folder)) as (endpoint, servers):
        asyncio.run(_replies(endpoint, asked[:2], replace(sampling, max_tokens=4)))
        pids = [server.process.pid for server in servers.servers]
        before, began = sum(map(_cpu_s, pids)), time.perf_counter()
        replies = asyncio.run(_replies(endpoint, asked, sampling))
        wall_s, cpu_s = time.perf_counter() - began, sum(map(_cpu_s, pids)) - before
        memory = max(map(_memory_mb, pids))
    written, prompts = (sum(r.completion_tokens or 0 for r in replies), sum(r.prompt_tokens or 0 for r in replies))
    read = prompts - sum(r.cached_prompt_tokens or 0 for r in replies)
    return Measured(written, prompts, read, wall_s, cpu_s, memory)


def tool_tokens_per_s(tool: Path, weights: Path, done: Measured, *, calls: int, sequences: int = 16) -> float:
    """Tokens written a second by llama.cpp's own bench tool for prompts and answers as long as those of `done` on
    average. The time of reading counts as far as there the prompts were read, and not in a cache."""
    prompt, written = round(done.prompt_tokens / calls), round(done.tokens / calls)
    command = [
        tool, "-m", weights, "-npp", prompt, "-ntg", written, "-npl", sequences, "-c", sequences * (prompt + written),
        "-t", 1, "-tb", 1, "-fa", "off", "--no-kv-unified", "--output-format", "jsonl",
    ]  # fmt: skip
    runs = [
        subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(cores())
    ]
    found = [json.loads(line) for run in runs for line in run.communicate()[0].splitlines() if line.startswith("{")]
    share = done.read_tokens / done.prompt_tokens
    return sum(sequences * written / (times["t_pp"] * share + times["t_tg"]) for times in found)


async def _replies(endpoint: Endpoint, asked: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
    """All of them, in the order asked."""
    if endpoint.slots and (prefix := common_prefix([prompt.text or "" for prompt in asked])):
        share_prefix(endpoint, prefix)
    free = asyncio.Semaphore(endpoint.most_calls)

    async def one(client: Client, prompt: Prompt, index: int) -> Reply:
        async with free:
            return await client.complete(prompt, sampling, index=index)

    async with Client(endpoint) as client:
        return await asyncio.gather(*(one(client, prompt, k) for k, prompt in enumerate(asked)))


def _memory_mb(pid: int) -> float:
    """The most that a process has held of memory; 0 where there is no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")), 0.0)


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far; 0 where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime of proc(5)


def recipes(model: str) -> dict[str, EndpointProfile]:
    """What is compared, the recipe of before first."""
    profile = EndpointProfile(model=model, api="completions", context_length=1024)
    return {
        f"llama_cpp, {cores()} servers": replace(profile, recipe="llama_cpp", servers=cores()),
        "llama_server, 16 in a batch": replace(profile, recipe="llama_server"),
        "llama_server, the file as it is": replace(profile, recipe="llama_server", form="file"),
        f"llama_server, {cores()} servers": replace(profile, recipe="llama_server", servers=cores()),
    }


def processor() -> str:
    """Its name and those of its units that llama.cpp's kernels are chosen by."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    units = [flag for flag in said.get("flags", "").split() if flag.startswith(("avx", "amx", "f16c", "fma"))]
    return f"{said.get('model name', platform.machine())} ({' '.join(units)})"


def print_forms(model: str) -> None:
    """Forms and batch sizes: tokens a second of one thread."""
    found = Endpoints().model(model)
    rows = []
    for form in FORMS:
        with Batches(weights_in_form(found, form)) as batches:
            speeds = [batches.tokens_per_s(sequences=n) for n in BATCHES]
            rows.append([form, batches.prompt_tokens_per_s(), *speeds])
    print(tabulate(rows, ["form", "prompt", *(f"{n} in a batch" for n in BATCHES)], floatfmt=".0f"))


def print_greedy(model: str, adapter: str | None, problems: Sequence[Problem], tokens: int) -> None:
    """Greedy answers to the same questions: alone over the file, then in the form that is served, alone and in a
    batch."""
    ways = {"file, alone": ("file", 1), "as served, alone": ("auto", 1), "as served, 16 in a batch": ("auto", 16)}
    texts: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for way, (form, parallel) in ways.items():
            profile = EndpointProfile(
                model=model, recipe="llama_server", api="completions", form=form, parallel=parallel, servers=cores(),
                context_length=1024, adapter=adapter,
            )  # fmt: skip
            resolved = Endpoints().resolve("student", profile)
            asked = [render(COT_TEMPLATE, {"question": p.question}, api="completions") for p in problems]
            with open_recipe(resolved, options=ServeOptions(log_directory=Path(folder))) as (endpoint, _):
                sampling = Sampling(temperature=0.0, max_tokens=tokens, stop=stop_texts("completions"))
                texts[way] = [reply.text for reply in asyncio.run(_replies(endpoint, asked, sampling))]
    grades = {way: [_is_right(*pair) for pair in zip(problems, each, strict=True)] for way, each in texts.items()}
    pairs = [("file, alone", "as served, alone"), ("as served, alone", "as served, 16 in a batch")]
    rows = []
    for one, other in pairs:
        same = sum(a == b for a, b in zip(texts[one], texts[other], strict=True)) / len(problems)
        right = list(zip(grades[one], grades[other], strict=True))
        lost, won = right.count((True, False)), right.count((False, True))
        rows.append([one, other, same, sum(grades[one]), sum(grades[other]), lost, won, mcnemar_exact(won, lost)])
    columns = ["one", "other", "equal texts", "right", "right of other", "lost", "won", "McNemar's p"]
    print(f"{len(problems)} greedy answers of {tokens} tokens at most")
    print(tabulate(rows, columns, floatfmt=".3f"))


def _is_right(problem: Problem, text: str) -> bool:
    return is_correct(extract_answer(text, problem.kind), problem.answer, problem.kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--problems", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--forms", action="store_true")
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--adapter", help="of --greedy: a LoRA GGUF over the model, which answers better")
    parser.add_argument("--only", default="", help="recipes whose name has this")
    parser.add_argument("--tool", type=Path, help="llama-batched-bench, from bench/batched_bench.sh")
    options = parser.parse_args()
    print(f"{processor()}, {cores()} cores, load {os.getloadavg()[0]:.1f}")
    if options.forms:
        print_forms(options.model)
        return
    experiment = Experiment(load_profile("laptop"), None)  # type: ignore[arg-type]  # no store is asked
    problems = (*experiment.problems.train, *experiment.problems.test)[: options.problems]
    if options.greedy:
        print_greedy(options.model, options.adapter, problems, options.tokens)
        return
    sampling = Sampling(temperature=0.7, max_tokens=options.tokens, seed=1)
    endpoints, rows, first = Endpoints(), [], None
    compared = {name: profile for name, profile in recipes(options.model).items() if options.only in name}
    taken: dict[str, list[Measured]] = {name: [] for name in compared}
    by_tool: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats):  # in turn, so that what else the machine does meets all of them
            for name, profile in compared.items():
                resolved = endpoints.resolve("reasoner", profile)
                calls = list(wanted_of(experiment.profile, "reasoner", resolved.endpoint, problems))
                render = prompts(problems, "completions")
                taken[name].append(measure(resolved, [render(call) for call in calls], sampling, Path(folder)))
            if options.tool:
                weights = weights_in_form(endpoints.model(options.model), resolved.form)
                last = taken[name][-1]  # of llama_server, in as many servers as there are cores
                by_tool.append(tool_tokens_per_s(options.tool, weights, last, calls=len(calls)))
    for name, each in taken.items():
        speed = statistics.median(m.tokens_per_s for m in each)
        busy = statistics.median(m.busy for m in each)
        first = first or speed
        memory = max(m.memory_mb for m in each)
        tokens = [each[0].tokens, each[0].prompt_tokens, each[0].read_tokens]
        rows.append([name, speed, speed / first, busy, *tokens, memory])
    if by_tool and first:
        rows.append(["llama.cpp's own bench tool", statistics.median(by_tool), statistics.median(by_tool) / first])
    columns = ["recipe", "tokens/s", "ratio", "busy", "tokens", "of prompts", "read", "MB"]
    print(tabulate(rows, columns, floatfmt=("", ".0f", ".2f", ".2f", ".0f", ".0f", ".0f", ".0f")))


if __name__ == "__main__":
    main()
