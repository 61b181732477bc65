-- Records of a large database, for bench/sql.py: $rationales of $problems problems, and what belongs to them.

create temp macro key(kind, number) as md5(kind || number)::uuid;
create temp macro words(n) as list_extract(
    string_split('apples books cards coins eggs flowers hats marbles nails oranges pens pots shirts stamps tickets', ' '),
    1 + (hash(n) % 15)::integer
);
create temp macro step(n, k) as format(
    e'Step {}: There were {} {} and {} {} in the {} boxes, so {} + {} = {} of them are left for the {}.\n',
    k, hash(n + k) % 1000, words(n + k), hash(n + 2 * k) % 900, words(n + 3 * k), words(n * k), hash(n + k) % 1000,
    hash(n + 2 * k) % 900, hash(n + k) % 1000 + hash(n + 2 * k) % 900, words(n + 5 * k)
);
create temp macro text_of(n) as concat(
    step(n, 1), step(n, 2), step(n, 3), step(n, 4), step(n, 5), 'The answer is ', hash(n) % 1000, '.'
);

insert into problem (
    id, dataset, split, question, answer, kind, solution, level, subject, source
)
select
    key('problem', n), 'bench', if(n < $problems, 'train', 'test'), 'How many are there? ' || step(n, 1), '42', 'number',
    step(n, 1) || 'The answer is 42.', 'Level ' || (1 + n % 5), 'subject ' || n % 7, null
from range($problems + 2000) as t(n);

insert into completion (
    id, purpose, model, model_identity, template, problem_id, rationale_id, checkpoint_id, sampling,
    sample_index, text, finish_reason, prompt_tokens, completion_tokens, latency_s, cost_usd, endpoint,
    is_reference_derived, created_at, cached_prompt_tokens, shared_by
)
select
    key('rationale', n), 'sample', 'reasoner-' || n % 4, 'weights-' || n % 4, 'sample_number.1',
    key('problem', n % $problems), null, null, '{"max_tokens":512,"seed":1,"temperature":0.7}', n // $problems,
    text_of(if(n % 50 = 0, n % 5000, n)), 'stop', 700 + n % 300, 120 + n % 130, 2.5, 0.001, 'reasoner', false,
    timestamptz '2026-01-02 00:00:00+00' + to_seconds(n / 50), null, 1
from range($rationales) as t(n);

insert into rationale (
    id, problem_id, reasoner, answer, is_correct, is_correct_authors, decided_by, is_cut
)
select
    id, problem_id, model, if(hash(id) % 3 = 0, '41', '42'), hash(id) % 3 > 0,
    hash(id) % 3 > 0 and hash(id) % 301 > 0, 'exact', hash(id) % 50 = 0
from completion where purpose = 'sample';

create temp table given as
select
    row_number() over () as n, rationale.id, rationale.problem_id, rationale.reasoner,
    case k when 0 then 'reasoner-0' when 1 then 'gpt-4' else 'oracle' end as corrector, k
from rationale, range(3) as t(k)
where not is_correct and not is_cut
limit $rationales * 3 // 10;

insert into completion (
    id, purpose, model, model_identity, template, problem_id, rationale_id, checkpoint_id, sampling,
    sample_index, text, finish_reason, prompt_tokens, completion_tokens, latency_s, cost_usd, endpoint,
    is_reference_derived, created_at, cached_prompt_tokens, shared_by
)
select
    key('correction', n), 'correct', corrector, if(k = 0, 'weights-0', corrector), 'correct_number.1', problem_id, id, null,
    '{"max_tokens":768,"seed":1,"temperature":0.0}', 0, text_of(n + 7), 'stop', 900, 100 + n % 100, 3.5, 0.02, 'corrector',
    k = 2, timestamptz '2026-02-02 00:00:00+00' + to_seconds(n), null, 1
from given;

insert into correction (
    id, problem_id, rationale_id, corrector, is_reference_derived, incorrect_step, explanation,
    correct_solution, answer, is_correct, rejected_because, fault_step, step_exists, continues, arithmetic,
    explains, step_agrees, resolved, mistaken_steps
)
select
    key('correction', n), problem_id, id, corrector, k = 2, if(n % 17 = 0, null, 1 + n % 5), text_of(n)[:150],
    text_of(n + 1)[:300], '42', n % 3 > 0,
    case when n % 3 > 0 then null when n % 17 = 0 then 'no incorrect step' else 'wrong answer' end,
    1 + n % 4, n % 17 > 0, n % 5 > 0, n % 7 > 0, n % 6 > 0, n % 4 = 0, if(n % 9 = 0, n % 2 = 0, null), 5
from given;

insert into example (
    id, kind, prompt, output, source_id, problem_id
)
select key('example', n), 'cot', text_of(n)[:200], text_of(n), key('problem', n), key('problem', n)
from range(least($problems, 20_000)) as t(n)
union all
select key('corrected', n), 'correction', text_of(n), text_of(n + 1)[:400], key('correction', n), problem_id
from given where n <= 20_000;

insert into training_set (
    id, arm, dataset, seed, cot_examples, correction_examples, manifest
)
select key('set', n), if(n % 2 = 0, 'cot', 'lema'), 'bench', n // 2, 20_000, 20_000 * (n % 2),
    '{"reference_derived": 0, "tokens": {"prompt": 1000000, "output": 3000000, "longest_prompt": 300, "longest_output": 500, "counted_by": "x"}}'
from range(6) as t(n);
insert into training_set_example
select training_set.id, example.id from training_set, example where arm = 'lema' or kind = 'cot';
insert into checkpoint (
    id, run_id, base_model, quantization, training_set_id, arm, dataset, seed, step, settings, path, loss,
    tokens_seen, samples_seen, created_at
)
select key('checkpoint', n), key('run', n % 6), 'student', 'nf4', key('set', n % 6), if(n % 2 = 0, 'cot', 'lema'), 'bench',
    n % 6 // 2, 100 * (1 + n // 6), '{}', 'runs/x', 0.5, 1000 * n, 96 * n, timestamptz '2026-03-02 00:00:00+00'
from range(60) as t(n);

insert into completion (
    id, purpose, model, model_identity, template, problem_id, rationale_id, checkpoint_id, sampling,
    sample_index, text, finish_reason, prompt_tokens, completion_tokens, latency_s, cost_usd, endpoint,
    is_reference_derived, created_at, cached_prompt_tokens, shared_by
)
select
    key('answer', n), 'evaluate', 'student', 'student:q4', 'cot_input.1', key('problem', $problems + n % 2000), null,
    if(n < 2000, null, key('checkpoint', n // 2000 - 1)), '{"max_tokens":2048,"temperature":0.0}', 0, text_of(n + 13),
    'stop', 100, 150, 1.0, null, 'student', false, timestamptz '2026-04-02 00:00:00+00', null, 1
from range(61 * 2000) as t(n);
insert into evaluation (
    id, problem_id, model, base, checkpoint_id, sample_index, answer, is_correct, is_correct_authors,
    decided_by, is_cut
)
select
    id, problem_id, model, model_identity, checkpoint_id, 0, if(hash(id) % 7 < hash(problem_id) % 8, '42', '7'),
    hash(id) % 7 < hash(problem_id) % 8, hash(id) % 7 < hash(problem_id) % 8, 'exact', false
from completion where purpose = 'evaluate';

insert into attempt (
    id, completion_id, error, status, raw, endpoint, created_at, cost_usd
)
select key('attempt', n), key('rationale', n), 'ServerError', 500 + n % 4, 'x', 'reasoner', now(), null from range(10_000) as t(n);

insert into review (id, correction_id, reviewer, grade, note, created_at)
select
    key('review', n), key('correction', 1 + n % 1500), 'reviewer-' || n // 1500,
    list_extract(['excellent', 'good', 'poor'], 1 + (hash(n) % 3)::integer), null, now()
from range(3000) as t(n);
