"""The preference pairs of a training set: from its corrections and their mistakes, all of which the database holds."""

from collections import Counter
from dataclasses import replace

from lema_local.corrections.parsing import ParsedCorrection
from lema_local.errors import DataError
from lema_local.examples.pairs import Pair, Pairs, Solved, preference_pair
from lema_local.prompts import in_alpaca, is_alpaca, sampled_steps
from lema_local.records.store import Store
from lema_local.records.types import Problem
from lema_local.stages.build import Built
from lema_local.stages.select import wanted_rows


def preference_pairs(store: Store, built: Built) -> Pairs:
    """A pair for each correction that a training set has an example of, in the set's own input. DataError where there
    would be none."""
    ids = list(dict.fromkeys(example.source_id for example in built.examples if example.kind == "correction"))
    found: dict[str, Pair] = {}
    left_out: Counter[str] = Counter()
    for row in wanted_rows(store, "preference_parts", ids):
        id_, step, explanation, solution, corrected, text, template, wrong, *problem = row
        correction = ParsedCorrection(step, explanation, solution)
        steps = sampled_steps(text, template)
        pair, reason = preference_pair(Solved(Problem(*problem), steps, wrong, correction, corrected, id_))
        if pair is None:
            left_out[reason] += 1
        else:
            found[id_] = pair
    missing = len(ids) - len(found) - left_out.total()
    if missing:
        left_out["its mistake is not in this database, or is none any more"] += missing
    unique = {
        (pair.prompt, pair.chosen, pair.rejected): pair for pair in reversed([found[i] for i in ids if i in found])
    }
    if len(unique) < len(found):
        left_out["pair that is there twice"] += len(found) - len(unique)
    if not unique:
        reasons = ", ".join(f"{reason} {count}" for reason, count in left_out.items()) or "it has no corrections"
        raise DataError(f"Training set {built.training_set.arm} gives no preference pair: {reasons}.")
    pairs = tuple(reversed(unique.values()))
    if any(is_alpaca(example.prompt) for example in built.examples):
        pairs = tuple(map(_in_alpaca, pairs))
    return Pairs(pairs, dict(sorted(left_out.items())))


def _in_alpaca(pair: Pair) -> Pair:
    prompt, chosen = in_alpaca("cot", pair.prompt, pair.chosen)
    _, rejected = in_alpaca("cot", pair.prompt, pair.rejected)
    return replace(pair, prompt=prompt, chosen=chosen, rejected=rejected)
