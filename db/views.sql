-- Views that stay in the file, so that plain `duckdb lema.duckdb -c 'from self_correction_rate'` works.
-- The first comment line above each view says the question it answers (shown by `lema sql --list`).

-- mistake: which sampled rationales are wrong? A rationale cut off by max_tokens is not a mistake of reasoning.
create or replace view mistake as
select
    rationale.id, rationale.problem_id, rationale.reasoner, problem.dataset, problem.level, problem.subject,
    problem.question, problem.answer as reference, completion.text as rationale, rationale.answer
from rationale
join problem on problem.id = rationale.problem_id
join completion on completion.id = rationale.id
where not rationale.is_correct and not rationale.is_cut and completion.purpose = 'sample';

-- mistake_rate: how often is each reasoner wrong? rate = mistakes / rationales that were not cut off.
create or replace view mistake_rate as
select
    rationale.reasoner, problem.dataset,
    count(*) as rationales,
    count(*) filter (is_cut) as cut_off,
    count(*) filter (is_correct and not is_cut) as correct,
    count(*) filter (not is_correct and not is_cut) as mistakes,
    mistakes / nullif(rationales - cut_off, 0) as rate
from rationale
join problem on problem.id = rationale.problem_id
join completion on completion.id = rationale.id
where completion.purpose = 'sample'
group by rationale.reasoner, problem.dataset, completion.model_identity, completion.template, completion.sampling
order by rationale.reasoner, problem.dataset;

-- graded_correction: every correction with who made the mistake and who corrected it, for the views below.
-- Same weights make a corrector the reasoner itself; other settings of one corrector are told apart by `settings`.
create or replace view graded_correction as
select
    correction.*, rationale.reasoner, problem.dataset, problem.level, problem.subject,
    corrected.model_identity = mistaken.model_identity as is_self,
    corrected.template || ' ' || corrected.sampling as settings
from correction
join rationale on rationale.id = correction.rationale_id
join problem on problem.id = correction.problem_id
join completion as corrected on corrected.id = correction.id
join completion as mistaken on mistaken.id = correction.rationale_id;

-- self_correction_rate: what share of each reasoner's mistakes does each corrector put right? Self-correction: is_self.
create or replace view self_correction_rate as
select
    reasoner, corrector, is_self, is_reference_derived,
    count(*) as mistakes,
    count(*) filter (is_correct) as right_answer,
    count(*) filter (rejected_because is null) as corrected,
    corrected / nullif(mistakes, 0) as rate
from graded_correction
group by reasoner, corrector, is_self, is_reference_derived, settings
order by is_reference_derived, reasoner, corrector;

-- correction_by_level: how does the success of corrections change with difficulty, or subject where there is no level?
create or replace view correction_by_level as
select
    dataset, coalesce(level, subject, '-') as level, corrector, is_reference_derived,
    count(*) as mistakes,
    count(*) filter (rejected_because is null) as corrected,
    corrected / nullif(mistakes, 0) as rate
from graded_correction
group by dataset, coalesce(level, subject, '-'), corrector, is_reference_derived, settings
order by is_reference_derived, dataset, corrector, 2;

-- rejections: why were corrections rejected, by reasoner and corrector?
create or replace view rejections as
with counts as (
    select reasoner, corrector, rejected_because, count(*) as corrections
    from graded_correction
    where rejected_because is not null
    group by all
)
select *, corrections / sum(corrections) over (partition by reasoner, corrector) as share
from counts
order by reasoner, corrector, corrections desc;

-- cost: how many calls, tokens, dollars and seconds did each model cost, by purpose? NULL dollars: no price is known.
create or replace view cost as
select
    purpose, model, endpoint,
    count(*) as calls,
    sum(prompt_tokens) as prompt_tokens,
    sum(cached_prompt_tokens) as cached_prompt_tokens,
    sum(completion_tokens) as completion_tokens,
    sum(cost_usd) as usd,
    sum(latency_s / shared_by) as seconds,  -- samples that came by one request share its seconds
    sum(completion_tokens) / nullif(sum(latency_s / shared_by), 0) as tokens_per_second
from completion
group by all
order by all;

-- failed_calls: which calls failed, where and why?
create or replace view failed_calls as
select endpoint, error, status, count(*) as attempts, max(created_at) as latest
from attempt
group by all
order by attempts desc;

-- evaluation_result: every graded answer with its arm, step and problem (the base model has arm 'base', step 0).
create or replace view evaluation_result as
select
    evaluation.id, evaluation.problem_id, evaluation.model, problem.dataset, problem.split, problem.level, problem.subject,
    coalesce(checkpoint.arm, 'base') as arm, checkpoint.seed, coalesce(checkpoint.step, 0) as step,
    evaluation.checkpoint_id, evaluation.base, evaluation.sample_index, problem.question, problem.answer as reference,
    completion.text, evaluation.answer, evaluation.is_correct, evaluation.is_correct_authors, evaluation.decided_by,
    evaluation.is_cut, completion.template, completion.sampling
from evaluation
join problem on problem.id = evaluation.problem_id
join completion on completion.id = evaluation.id
left join checkpoint on checkpoint.id = evaluation.checkpoint_id;

-- pass_at_1: what share of the test problems does the base model, and each checkpoint of each arm, solve? low, high: 95% Wilson interval.
create or replace view pass_at_1 as
with counts as (
    select
        model, dataset, split, arm, seed, step, checkpoint_id, base, sampling,
        count(*) as n,
        count(*) filter (is_correct) as correct,
        count(*) filter (is_cut) as cut_off,
        1.959963984540054 as z
    from evaluation_result
    group by all
),
rates as (
    select *, correct / n as p, 1 + z * z / n as denominator
    from counts
)
select
    model, dataset, split, arm, seed, step, checkpoint_id, base, n, correct, p as pass_at_1,
    greatest(0, (p + z * z / (2 * n) - z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / denominator) as low,
    least(1, (p + z * z / (2 * n) + z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / denominator) as high,
    cut_off, sampling
from rates
order by model, dataset, split, arm, seed, step;

-- grader_disagreements: where do our grader and the authors' rules differ?
create or replace view grader_disagreements as
select
    completion.purpose, completion.model, graded.answer, problem.answer as reference,
    graded.is_correct, graded.is_correct_authors, graded.decided_by, completion.text, graded.id
from (
    select id, answer, is_correct, is_correct_authors, decided_by from rationale
    union all
    select id, answer, is_correct, is_correct_authors, decided_by from evaluation
) as graded
join completion on completion.id = graded.id
join problem on problem.id = completion.problem_id
where graded.is_correct <> graded.is_correct_authors
order by completion.purpose, completion.model, graded.id;

-- training_example: which texts does each arm train on?
create or replace view training_example as
select
    training_set.arm, training_set.dataset, training_set.seed, training_set.id as training_set_id,
    example.id as example_id, example.kind, example.prompt, example.output, example.source_id, example.problem_id
from training_set
join training_set_example on training_set_example.training_set_id = training_set.id
join example on example.id = training_set_example.example_id;
