-- Evaluations: pass@1 by arm, step, level and subject (table 1, figures 1 to 3), and which problems were gained and lost.

-- evaluation_result: how was every test answer graded? The base model has arm 'base', step 0.
--   id, problem_id: of the evaluation and its problem
--   model: the student
--   dataset, split, level, subject: of the problem
--   arm, seed, step: of the checkpoint that answered; the base model has no seed
--   checkpoint_id: NULL: the base model
--   base: weights and quantisation as served
--   sample_index: 0 where there is one answer to a problem
--   question, reference: of the problem; reference is the right answer
--   text: of the reply
--   answer: found in it; NULL: none
--   is_correct, is_correct_authors, decided_by: by our grader, by the rules of the paper's authors, and what decided
--   is_cut: ended by max_tokens
--   template, sampling: of the prompt (name.version) and of sampling (JSON)
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

-- counted_answer: which answers count in pass@1? For the views below. Greedy repeats, and later ones of a file, are not here.
--   problem_id, model, dataset, split, arm, seed, step, checkpoint_id, base, template, sampling: as in evaluation_result
--   level, subject: of the problem; '-' where it has none
--   answer, is_correct, is_cut: as in evaluation_result
--   of_problem, right_of_problem: answers of this checkpoint to this problem by this prompt and sampling, and right ones
create or replace view counted_answer as
with told_apart as (
    select
        *, (sampling ->> '$.temperature')::double as temperature,
        min(sample_index) over (partition by problem_id, model, checkpoint_id, base, template, sampling) as first_index
    from evaluation_result
)
select
    problem_id, model, dataset, split, arm, seed, step, checkpoint_id, base, template, sampling,
    coalesce(level, '-') as level, coalesce(subject, '-') as subject, answer, is_correct, is_cut,
    count(*) over alike as of_problem,
    count(*) filter (is_correct) over alike as right_of_problem
from told_apart
where temperature > 0 or sample_index = case when temperature is null then first_index else 0 end
window alike as (partition by problem_id, model, checkpoint_id, base, template, sampling);

-- pass_at_1: what share of the test problems does the base model, and each checkpoint of each arm, solve?
--   model, dataset, split: the student, and which problems
--   arm, seed, step, checkpoint_id: the checkpoint; the base model has arm 'base', step 0
--   base: weights and quantisation as served
--   n, correct: answers, and right ones
--   pass_at_1: correct / n, 0 to 1
--   effective_n: as how many independent answers they count, as several samples of a problem are less than as many problems
--   low, high: of pass_at_1, 95% Wilson interval of so many
--   cut_off: answers ended by max_tokens; they count as given
--   no_answer: replies in which no answer was found: wrong, and among the n
--   missing: problems of this data set and split in the database that it has no reply to, not among the n
--   sampling: JSON
--   template: of the prompt, name.version
create or replace view pass_at_1 as
with problem_set as (
    select dataset, split, count(*) as problems from problem group by dataset, split
)
select
    model, dataset, split, arm, seed, step, checkpoint_id, base,
    count(*) as n,
    count(*) filter (is_correct) as correct,
    correct / n as pass_at_1,
    effective_n(true, is_correct, problem_id, of_problem, right_of_problem) as effective_n,
    wilson_low(pass_at_1 * effective_n, effective_n) as low,
    wilson_high(pass_at_1 * effective_n, effective_n) as high,
    count(*) filter (is_cut) as cut_off,
    count(*) filter (answer is null) as no_answer,
    problems - count(distinct problem_id) as missing,
    sampling, template
from counted_answer
join problem_set using (dataset, split)
group by model, dataset, split, arm, seed, step, checkpoint_id, base, sampling, template, problems
order by model, dataset, split, arm, seed, step, base, sampling, template;

-- pass_at_1_by_level: what is pass@1 of each arm and step at each level of difficulty?
--   model, dataset, split, level: the student, and which problems; '-': they have no level
--   arm, seed, step, checkpoint_id: the checkpoint; the base model has arm 'base', step 0
--   n, correct: answers, and right ones
--   pass_at_1: correct / n, 0 to 1
--   effective_n: as how many independent answers they count, as several samples of a problem are less than as many problems
--   low, high: of pass_at_1, 95% Wilson interval of so many
--   missing: problems like these in the database that it has no reply to, not among the n
--   base, sampling, template: weights and quantisation as served; JSON; of the prompt, name.version
create or replace view pass_at_1_by_level as
with problem_set as (
    select dataset, split, coalesce(level, '-') as level, count(*) as problems from problem group by all
)
select
    model, dataset, split, problem_set.level, arm, seed, step, checkpoint_id,
    count(*) as n,
    count(*) filter (is_correct) as correct,
    correct / n as pass_at_1,
    effective_n(true, is_correct, problem_id, of_problem, right_of_problem) as effective_n,
    wilson_low(pass_at_1 * effective_n, effective_n) as low,
    wilson_high(pass_at_1 * effective_n, effective_n) as high,
    problems - count(distinct problem_id) as missing,
    base, sampling, template
from counted_answer
join problem_set using (dataset, split, level)
group by model, dataset, split, problem_set.level, arm, seed, step, checkpoint_id, base, sampling, template, problems
order by model, dataset, split, arm, seed, step, base, sampling, template, 4;

-- pass_at_1_by_subject: what is pass@1 of each arm and step on each subject?
--   model, dataset, split, subject: the student, and which problems; '-': they have no subject
--   arm, seed, step, checkpoint_id: the checkpoint; the base model has arm 'base', step 0
--   n, correct: answers, and right ones
--   pass_at_1: correct / n, 0 to 1
--   effective_n: as how many independent answers they count, as several samples of a problem are less than as many problems
--   low, high: of pass_at_1, 95% Wilson interval of so many
--   missing: problems like these in the database that it has no reply to, not among the n
--   base, sampling, template: weights and quantisation as served; JSON; of the prompt, name.version
create or replace view pass_at_1_by_subject as
with problem_set as (
    select dataset, split, coalesce(subject, '-') as subject, count(*) as problems from problem group by all
)
select
    model, dataset, split, problem_set.subject, arm, seed, step, checkpoint_id,
    count(*) as n,
    count(*) filter (is_correct) as correct,
    correct / n as pass_at_1,
    effective_n(true, is_correct, problem_id, of_problem, right_of_problem) as effective_n,
    wilson_low(pass_at_1 * effective_n, effective_n) as low,
    wilson_high(pass_at_1 * effective_n, effective_n) as high,
    problems - count(distinct problem_id) as missing,
    base, sampling, template
from counted_answer
join problem_set using (dataset, split, subject)
group by model, dataset, split, problem_set.subject, arm, seed, step, checkpoint_id, base, sampling, template, problems
order by model, dataset, split, arm, seed, step, base, sampling, template, 4;

-- checkpoint_curve: how does pass@1 move with training, arm by arm and seed by seed (figure 2)?
--   model, dataset, split: the student, and which problems
--   arm, seed, step, checkpoint_id: the checkpoint; the base model is in base_pass_at_1
--   n, missing: answers; problems of the set that it has no reply to: with any it is not yet whole
--   pass_at_1: 0 to 1
--   low, high: of pass_at_1, 95% Wilson interval
--   base_pass_at_1: of the untrained model over the same data set, 0 to 1; NULL: not evaluated
--   points: 100 * (pass_at_1 - base_pass_at_1); NULL: the two have not answered as many problems, or the base none
--   loss: of training at this step, nats a token
--   samples_seen, tokens_seen: trained on until this step
--   base, sampling, template: weights and quantisation as served; JSON; of the prompt, name.version
create or replace view checkpoint_curve as
with untrained as (
    select model, dataset, split, base, sampling, template, n as base_n, pass_at_1 as base_pass_at_1
    from pass_at_1
    where arm = 'base'
)
select
    model, dataset, split, arm, seed, step, checkpoint_id, n, missing, pass_at_1, low, high, base_pass_at_1,
    case when n = base_n then 100 * (pass_at_1 - base_pass_at_1) end as points,
    loss, samples_seen, tokens_seen, base, sampling, template
from pass_at_1
join (select id as checkpoint_id, loss, samples_seen, tokens_seen from checkpoint) as trained using (checkpoint_id)
left join untrained using (model, dataset, split, base, sampling, template)
order by model, dataset, split, arm, seed, step, base, sampling, template;

-- gained_and_lost: which test problems does the last whole checkpoint of each arm gain and lose, against the base model and against arm cot?
--   model, dataset, split: the student, and which problems; greedy answers alone
--   arm, seed, step: a run's end, of runs that answered all: one that another arm has too with these settings, then of the data with most seeds, then the last
--   against: base; or cot: its run of the same seed, settings and step, the last one made
--   change: gained (wrong before, right now) or lost
--   problem_id, level, subject, question, reference: of the problem; reference is the right answer
--   answer_before, answer: of `against`, and of the arm; NULL: none
--   evaluation_before, evaluation: ids of the two evaluations; their texts are in evaluation_result
create or replace view gained_and_lost as
with answered as (
    select
        evaluation.id, evaluation.problem_id, evaluation.model, evaluation.base, evaluation.answer, evaluation.is_correct,
        (completion.template, completion.sampling) as way, problem.dataset, problem.split, evaluation.checkpoint_id
    from evaluation
    join completion on completion.id = evaluation.id
    join problem on problem.id = evaluation.problem_id
    where evaluation.sample_index = 0 and coalesce((completion.sampling ->> '$.temperature')::double, 0) = 0
),
run_end as (  -- where the learning rate falls, a run stands for its settings at its end alone
    select id as checkpoint_id, arm, seed, step, dataset as trained_on, training_set_id, design_of(settings) as design, created_at
    from checkpoint
    where coalesce(settings ->> '$.schedule', 'constant') = 'constant' or step = (settings ->> '$.max_steps')::integer
),
whole as (
    select
        model, dataset, split, base, way, checkpoint_id, arm, seed, step, trained_on, training_set_id, design, created_at,
        count(*) as n
    from answered
    join run_end using (checkpoint_id)
    group by
        model, dataset, split, base, way, checkpoint_id, arm, seed, step, trained_on, training_set_id, design, created_at
    qualify n = max(n) over (partition by model, dataset, split, base, way)
),
beside as (
    select
        *,
        min(arm) over alike <> max(arm) over alike as is_beside_another,
        count(distinct seed) over (
            partition by model, dataset, split, base, way, trained_on, arm, training_set_id, design
        ) as seeds
    from whole
    window alike as (partition by model, dataset, split, base, way, trained_on, seed, step, design)
),
chosen as (
    from beside
    qualify row_number() over (
        partition by model, dataset, split, base, way, trained_on, arm, seed
        order by is_beside_another desc, seeds desc, created_at desc, step desc, checkpoint_id
    ) = 1
),
twin as (
    from whole
    where arm = 'cot'
    qualify row_number() over (
        partition by model, dataset, split, base, way, trained_on, seed, step, design order by created_at desc, checkpoint_id
    ) = 1
),
pair as (
    select chosen.model, dataset, split, base, way, arm, seed, step, checkpoint_id, 'base' as against, null as against_id
    from chosen
    union all
    select model, dataset, split, base, way, chosen.arm, seed, step, chosen.checkpoint_id, 'cot', twin.checkpoint_id
    from chosen
    join twin using (model, dataset, split, base, way, trained_on, seed, step, design)
    where chosen.arm <> 'cot'
)
select
    pair.model, pair.dataset, pair.split, pair.arm, pair.seed, pair.step, pair.against,
    case when now.is_correct then 'gained' else 'lost' end as change,
    now.problem_id, problem.level, problem.subject, problem.question, problem.answer as reference,
    before.answer as answer_before, now.answer, before.id as evaluation_before, now.id as evaluation
from pair
join answered as now using (model, dataset, split, base, way, checkpoint_id)
join answered as before
    on (before.model, before.base, before.way, before.problem_id) = (now.model, now.base, now.way, now.problem_id)
    and before.checkpoint_id is not distinct from pair.against_id
join problem on problem.id = now.problem_id
where before.is_correct <> now.is_correct and pair.split <> 'dev'
order by all;

-- never_solved: which test problems does every checkpoint fail, or the model itself, where it has no checkpoint?
--   model, dataset, split: the student, and which problems; those of a dev split are not here
--   problem_id, level, subject: of the problem
--   checkpoints: that answered it, all wrong
--   is_base_correct: whether the untrained model solves it; NULL: not evaluated
--   answers, different_answers: how many answers it got, and how many of them differ
--   most_given: the answer that it got most often, of several the first in their order; NULL: none was found in any
--   reference, question: of the problem; reference is the right answer
create or replace view never_solved as
with failed as (
    select
        model, problem_id,
        count(distinct checkpoint_id) as checkpoints,
        bool_or(is_correct) filter (checkpoint_id is null) as is_base_correct,
        count(*) as answers,
        count(distinct answer) as different_answers,
        mode(answer order by answer) as most_given
    from evaluation
    group by model, problem_id
    having not coalesce(bool_or(is_correct) filter (checkpoint_id is not null), is_base_correct)
)
select
    failed.model, problem.dataset, problem.split, failed.problem_id, problem.level, problem.subject, failed.checkpoints,
    failed.is_base_correct, failed.answers, failed.different_answers, failed.most_given, problem.answer as reference,
    problem.question
from failed
join problem on problem.id = failed.problem_id
where problem.split <> 'dev'
order by failed.model, problem.dataset, problem.level, problem.subject, problem.question;

-- training_curve: how did loss, learning rate, gradient, speed and memory go in each training run, step by step?
--   base_model, dataset, arm, seed: of the run
--   step: of the optimiser
--   loss: mean of the step, nats an output token
--   learning_rate, grad_norm: of the step; the norm is before clipping
--   tokens_per_second: trained on
--   memory_gib: most so far, of the GPU, or of the process where there is none
--   tokens_seen, samples_seen: trained on until this step
--   created_at, run_id: when, and in which run
create or replace view training_curve as
select
    base_model, dataset, arm, seed, step, loss, learning_rate, grad_norm, tokens_per_second, memory_gib, tokens_seen,
    samples_seen, created_at, run_id
from training_metric
order by base_model, dataset, arm, seed, run_id, step;
