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
    corrected.template, corrected.sampling as settings, corrected.completion_tokens, corrected.latency_s, corrected.cost_usd
from correction
join rationale on rationale.id = correction.rationale_id
join problem on problem.id = correction.problem_id
join completion as corrected on corrected.id = correction.id
join completion as mistaken on mistaken.id = correction.rationale_id;

-- The 95% Wilson interval of k successes in n (scipy's binomtest(k, n).proportion_ci(method='wilson')).
create or replace macro wilson_low(k, n) as
    greatest(0, (k / nullif(n, 0) + 1.9207294102924 / n - 1.959963984540054 * sqrt(k / n * (1 - k / n) / n + 0.9603647051462 / (n * n)))
        / (1 + 3.8414588205848 / n));
create or replace macro wilson_high(k, n) as
    least(1, (k / nullif(n, 0) + 1.9207294102924 / n + 1.959963984540054 * sqrt(k / n * (1 - k / n) / n + 0.9603647051462 / (n * n)))
        / (1 + 3.8414588205848 / n));

-- self_correction_rate: what share of each reasoner's mistakes does each corrector put right? Self-correction: is_self. low, high: 95% Wilson interval.
create or replace view self_correction_rate as
select
    reasoner, corrector, is_self, is_reference_derived,
    count(*) as mistakes,
    count(*) filter (is_correct) as right_answer,
    count(*) filter (rejected_because is null) as corrected,
    corrected / nullif(mistakes, 0) as rate,
    wilson_low(corrected, mistakes) as low,
    wilson_high(corrected, mistakes) as high,
    template
from graded_correction
group by reasoner, corrector, is_self, is_reference_derived, template, settings
order by is_reference_derived, reasoner, corrector, template;

-- correction_checks: of the corrections that are kept, how many pass each further check, fail it, or cannot be told by it?
create or replace view correction_checks as
with checked as (
    select *
    from (select * from graded_correction where rejected_because is null)
    unpivot include nulls (
        is_passed for check_name in (step_exists, continues, arithmetic, explains, step_agrees, resolved)
    )
)
select
    reasoner, corrector, is_reference_derived, template, check_name,
    count(*) as kept,
    count(*) filter (is_passed) as passed,
    count(*) filter (not is_passed) as failed,
    count(*) filter (is_passed is null) as cannot_tell
from checked
group by reasoner, corrector, is_reference_derived, template, settings, check_name
order by
    is_reference_derived, reasoner, corrector, template, settings,
    list_position(['step_exists', 'continues', 'arithmetic', 'explains', 'step_agrees', 'resolved'], check_name);

-- correction_cost: how many tokens and seconds does an accepted correction cost, the rejected ones paid too?
create or replace view correction_cost as
select
    reasoner, corrector, is_reference_derived, template,
    count(*) as calls,
    count(*) filter (rejected_because is null) as kept,
    sum(completion_tokens) as completion_tokens,
    sum(completion_tokens) / nullif(kept, 0) as tokens_per_kept,
    sum(latency_s) / nullif(kept, 0) as seconds_per_kept,
    sum(cost_usd) / nullif(kept, 0) as usd_per_kept
from graded_correction
group by reasoner, corrector, is_reference_derived, template, settings
order by is_reference_derived, reasoner, corrector, template;

-- correction_agreement: where several corrections of one mistake are kept, do they name the same step?
create or replace view correction_agreement as
select
    rationale_id, any_value(reasoner) as reasoner, any_value(dataset) as dataset,
    count(*) as kept,
    count(distinct incorrect_step) as steps_named,
    mode(incorrect_step) as most_named,
    count(*) filter (incorrect_step = fault_step) as agree_with_fault_step
from graded_correction
where rejected_because is null
group by rationale_id
having kept > 1
order by rationale_id;

-- correction_by_level: how does the success of corrections change with difficulty, or subject where there is no level?
create or replace view correction_by_level as
select
    dataset, coalesce(level, subject, '-') as level, corrector, is_reference_derived,
    count(*) as mistakes,
    count(*) filter (rejected_because is null) as corrected,
    corrected / nullif(mistakes, 0) as rate
from graded_correction
group by dataset, coalesce(level, subject, '-'), corrector, is_reference_derived, template, settings
order by is_reference_derived, dataset, corrector, 2;

-- rejections: why were corrections rejected, by reasoner and corrector? share: of all corrections of the pair by this template.
create or replace view rejections as
select
    reasoner, corrector, rejected_because, count(*) as corrections,
    corrections / any_value(asked) as share,
    template
from (
    select *, count(*) over (partition by reasoner, corrector, template, settings) as asked from graded_correction
)
where rejected_because is not null
group by reasoner, corrector, rejected_because, template, settings
order by reasoner, corrector, template, settings, corrections desc, rejected_because;

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

-- training_curve: how did loss, learning rate, gradient, speed and memory go in each training run, step by step?
create or replace view training_curve as
select
    base_model, dataset, arm, seed, step, loss, learning_rate, grad_norm, tokens_per_second, memory_gib, tokens_seen,
    samples_seen, created_at, run_id
from training_metric
order by base_model, dataset, arm, seed, run_id, step;
