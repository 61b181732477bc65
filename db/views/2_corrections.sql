-- Corrections: how often, of what, why not, at what price (RQ2, RQ3, figure 4). Correctors that write from the reference
-- solution (the oracle) carry is_reference_derived and come last: they say nothing about any model.

-- graded_correction: who made each mistake, who corrected it, and how was the correction graded? For the views below.
--   id, problem_id, rationale_id: of the correction, its problem and the mistake
--   corrector, is_reference_derived: the model; true: it wrote from the reference solution
--   incorrect_step, explanation, correct_solution: the three parts of the correction
--   answer, is_correct: its final answer, and whether it is right
--   rejected_because: NULL: kept
--   fault_step: the mistake's first step that is demonstrably wrong; NULL: none found
--   step_exists, continues, arithmetic, explains, step_agrees, resolved: the checks of docs/data.md; NULL: cannot tell
--   mistaken_steps: how many steps the mistake has; NULL: derived by an older lema, until `lema rederive`
--   reasoner: the model that made the mistake
--   dataset, level, subject: of the problem; '-' where it has no level, no subject
--   is_self: the corrector's weights are the reasoner's
--   template, settings: of the prompt (name.version) and of sampling (JSON)
--   prompt_tokens, completion_tokens: of the call
--   seconds: of the call; a request's seconds are shared by the samples that came by it; NULL: it came by a batch
--   cost_usd: US dollars; NULL: no price known
--   model_identity: weights and quantisation of the corrector; NULL: reference-derived
create or replace view graded_correction as
select
    correction.*, rationale.reasoner, problem.dataset,
    coalesce(problem.level, '-') as level, coalesce(problem.subject, '-') as subject,
    corrected.model_identity = mistaken.model_identity as is_self,
    corrected.template, corrected.sampling as settings, corrected.prompt_tokens, corrected.completion_tokens,
    corrected.latency_s / corrected.shared_by as seconds, corrected.cost_usd,
    case when not correction.is_reference_derived then corrected.model_identity end as model_identity
from correction
join rationale on rationale.id = correction.rationale_id
join problem on problem.id = correction.problem_id
join completion as corrected on corrected.id = correction.id
join completion as mistaken on mistaken.id = correction.rationale_id;

-- given_mistake: which mistakes was each corrector given, and did it put them right? For the views below; each once, however often it was corrected.
--   rationale_id, problem_id, reasoner: the mistake, its problem, and the model that made it
--   dataset, level, subject: of the problem; '-' where it has no level, no subject
--   corrector, is_self, is_reference_derived, template, settings, model_identity: as in graded_correction
--   is_right, is_corrected: a correction has the right answer; one is kept
create or replace view given_mistake as
select
    rationale_id, problem_id, reasoner, dataset, level, subject, corrector, is_self, is_reference_derived, template, settings,
    model_identity, coalesce(bool_or(is_correct), false) as is_right, bool_or(rejected_because is null) as is_corrected
from graded_correction
group by all;

-- kept_corrections: what do kept corrections look like, the mistake, the wrong step, why, and the new steps?
--   corrector, is_reference_derived: the model; true: it wrote from the reference solution
--   question, rationale: of the problem, and the mistake
--   incorrect_step, explanation, correct_solution: the three parts of the correction
--   reference: the right answer
--   id: of the correction
create or replace view kept_corrections as
select
    correction.corrector, correction.is_reference_derived, mistake.question, mistake.rationale, correction.incorrect_step,
    correction.explanation, correction.correct_solution, mistake.reference, correction.id
from correction
join mistake on mistake.id = correction.rationale_id
where correction.rejected_because is null
order by correction.is_reference_derived, correction.id;

-- self_correction_rate: what share of each reasoner's mistakes does each corrector put right? Self-correction is where is_self holds.
--   reasoner, corrector: models
--   is_self: the corrector's weights are the reasoner's
--   is_reference_derived: the corrector wrote from the reference solution, and is no model
--   dataset: whose problems
--   mistakes: given to the corrector, each once however often it was corrected; of a cascade each gets what the ones before it failed to correct
--   right_answer: of them, those with a correction whose final answer is right, whatever its form
--   corrected: of them, those with a correction that is kept
--   rate: corrected / mistakes, 0 to 1
--   effective_n: as how many independent observations they count, as several mistakes at a problem are less than as many problems
--   low, high: of rate, 95% Wilson interval of so many
--   template, settings: of the prompt (name.version) and of sampling (JSON)
--   right_effective_n: the same as effective_n, for the rate of right answers
--   model_identity: weights and quantisation of the corrector; NULL: reference-derived
create or replace view self_correction_rate as
with given as (
    select
        *,
        count(*) over alike as of_problem,
        count(*) filter (is_right) over alike as right_of_problem,
        count(*) filter (is_corrected) over alike as corrected_of_problem
    from given_mistake
    window alike as (
        partition by problem_id, reasoner, corrector, is_self, is_reference_derived, template, settings, model_identity
    )
)
select
    reasoner, corrector, is_self, is_reference_derived, dataset,
    count(*) as mistakes,
    count(*) filter (is_right) as right_answer,
    count(*) filter (is_corrected) as corrected,
    corrected / nullif(mistakes, 0) as rate,
    effective_n(true, is_corrected, problem_id, of_problem, corrected_of_problem) as effective_n,
    wilson_low(rate * effective_n, effective_n) as low,
    wilson_high(rate * effective_n, effective_n) as high,
    template, settings,
    effective_n(true, is_right, problem_id, of_problem, right_of_problem) as right_effective_n,
    model_identity
from given
group by reasoner, corrector, is_self, is_reference_derived, dataset, template, settings, model_identity
order by is_reference_derived, reasoner, corrector, dataset, template, settings, model_identity;

-- correction_by_level: how does the success of corrections change with difficulty (figure 4)?
--   dataset, level: which problems; '-': they have no level
--   corrector, is_reference_derived: the model; true: it wrote from the reference solution
--   collected: mistakes of all reasoners there, whether they were given to this corrector or not
--   mistakes: given to this corrector, each once however often it was corrected
--   corrected: of them, those with a correction that is kept
--   rate: corrected / mistakes, 0 to 1
--   effective_n: as how many independent observations they count, as several mistakes at a problem are less than as many problems
--   low, high: of rate, 95% Wilson interval of so many
--   template, settings: of the prompt (name.version) and of sampling (JSON)
--   model_identity: weights and quantisation of the corrector; NULL: reference-derived
create or replace view correction_by_level as
with given as (
    select *, count(*) over alike as of_problem, count(*) filter (is_corrected) over alike as corrected_of_problem
    from given_mistake
    window alike as (partition by problem_id, corrector, is_reference_derived, template, settings, model_identity)
),
collected as (
    select dataset, level, sum(mistakes)::bigint as collected
    from mistakes_by_level
    group by all
)
select
    dataset, level, corrector, is_reference_derived, coalesce(any_value(collected), 0) as collected,
    count(*) as mistakes,
    count(*) filter (is_corrected) as corrected,
    corrected / nullif(mistakes, 0) as rate,
    effective_n(true, is_corrected, problem_id, of_problem, corrected_of_problem) as effective_n,
    wilson_low(rate * effective_n, effective_n) as low,
    wilson_high(rate * effective_n, effective_n) as high,
    template, settings, model_identity
from given
left join collected using (dataset, level)
group by dataset, level, corrector, is_reference_derived, template, settings, model_identity
order by is_reference_derived, dataset, corrector, template, settings, model_identity, level;

-- correction_by_subject: how does the success of corrections change with the subject?
--   dataset, subject: which problems; '-': they have no subject
--   corrector, is_reference_derived: the model; true: it wrote from the reference solution
--   collected: mistakes of all reasoners there, whether they were given to this corrector or not
--   mistakes: given to this corrector, each once however often it was corrected
--   corrected: of them, those with a correction that is kept
--   rate: corrected / mistakes, 0 to 1
--   effective_n: as how many independent observations they count, as several mistakes at a problem are less than as many problems
--   low, high: of rate, 95% Wilson interval of so many
--   template, settings: of the prompt (name.version) and of sampling (JSON)
--   model_identity: weights and quantisation of the corrector; NULL: reference-derived
create or replace view correction_by_subject as
with given as (
    select *, count(*) over alike as of_problem, count(*) filter (is_corrected) over alike as corrected_of_problem
    from given_mistake
    window alike as (partition by problem_id, corrector, is_reference_derived, template, settings, model_identity)
),
collected as (
    select dataset, subject, sum(mistakes)::bigint as collected
    from mistakes_by_subject
    group by all
)
select
    dataset, subject, corrector, is_reference_derived, coalesce(any_value(collected), 0) as collected,
    count(*) as mistakes,
    count(*) filter (is_corrected) as corrected,
    corrected / nullif(mistakes, 0) as rate,
    effective_n(true, is_corrected, problem_id, of_problem, corrected_of_problem) as effective_n,
    wilson_low(rate * effective_n, effective_n) as low,
    wilson_high(rate * effective_n, effective_n) as high,
    template, settings, model_identity
from given
left join collected using (dataset, subject)
group by dataset, subject, corrector, is_reference_derived, template, settings, model_identity
order by is_reference_derived, dataset, corrector, template, settings, model_identity, subject;

-- correction_by_step: which step of the mistake do correctors blame, and how do corrections of early and late steps fare?
--   dataset: whose problems
--   corrector, is_reference_derived: the model; true: it wrote from the reference solution
--   position: of the step that was named among the mistake's: first, middle, last; only (there is one); none named; no such step; not known (derived by an older lema: `lema rederive`)
--   corrections: that name such a step
--   share: of the corrector's corrections, 0 to 1
--   corrected: kept
--   rate: corrected / corrections, 0 to 1
--   effective_n: as how many independent observations they count, as several mistakes at a problem are less than as many problems
--   low, high: of rate, 95% Wilson interval of so many
--   at_fault: corrections whose step is the mistake's first that is demonstrably wrong
--   fault_known: corrections of mistakes where there is such a step
--   first_at_fault: of them, where it is the first: what a corrector that always blames the first step has right
--   template, settings: of the prompt (name.version) and of sampling (JSON)
--   model_identity: weights and quantisation of the corrector; NULL: reference-derived
create or replace view correction_by_step as
with placed as (
    select
        *,
        case
            when incorrect_step is null then 'none named'
            when mistaken_steps is null then 'not known'
            when incorrect_step not between 1 and mistaken_steps then 'no such step'
            when mistaken_steps = 1 then 'only'
            when incorrect_step = 1 then 'first'
            when incorrect_step = mistaken_steps then 'last'
            else 'middle'
        end as position
    from graded_correction
),
counted as (
    select
        *,
        count(*) over alike as of_problem,
        count(*) filter (rejected_because is null) over alike as kept_of_problem
    from placed
    window alike as (partition by problem_id, corrector, is_reference_derived, position, template, settings, model_identity)
)
select
    dataset, corrector, is_reference_derived, position,
    count(*) as corrections,
    corrections / sum(corrections) over (
        partition by dataset, corrector, is_reference_derived, template, settings, model_identity
    ) as share,
    count(*) filter (rejected_because is null) as corrected,
    corrected / nullif(corrections, 0) as rate,
    effective_n(true, rejected_because is null, problem_id, of_problem, kept_of_problem) as effective_n,
    wilson_low(rate * effective_n, effective_n) as low,
    wilson_high(rate * effective_n, effective_n) as high,
    count(*) filter (step_agrees) as at_fault,
    count(*) filter (fault_step is not null) as fault_known,
    count(*) filter (fault_step = 1) as first_at_fault,
    template, settings, model_identity
from counted
group by dataset, corrector, is_reference_derived, position, template, settings, model_identity
order by
    is_reference_derived, dataset, corrector, template, settings, model_identity,
    list_position(['first', 'middle', 'last', 'only', 'none named', 'no such step', 'not known'], position);

-- rejections: why were corrections rejected, by reasoner and corrector?
--   reasoner, corrector: models
--   is_reference_derived: the corrector wrote from the reference solution
--   rejected_because: the reasons of docs/data.md
--   corrections: rejected for it
--   share: of all corrections of this reasoner by this corrector, kept ones too, 0 to 1
--   template, settings: of the prompt (name.version) and of sampling (JSON)
create or replace view rejections as
with counts as (
    select
        reasoner, corrector, is_reference_derived, rejected_because, template, settings,
        count(*) as corrections,
        corrections / sum(corrections) over (partition by reasoner, corrector, is_reference_derived, template, settings) as share
    from graded_correction
    group by reasoner, corrector, is_reference_derived, rejected_because, template, settings
)
select reasoner, corrector, is_reference_derived, rejected_because, corrections, share, template, settings
from counts
where rejected_because is not null
order by is_reference_derived, reasoner, corrector, template, settings, corrections desc, rejected_because;

-- correction_checks: of the corrections that are kept, how many pass each further check, fail it, or cannot be told by it?
--   reasoner, corrector: models
--   is_reference_derived: the corrector wrote from the reference solution
--   template: of the prompt, name.version
--   check_name: the checks of docs/data.md
--   kept: corrections kept
--   passed, failed, cannot_tell: of them
--   settings: of sampling (JSON)
create or replace view correction_checks as
with counts as (
    select
        reasoner, corrector, is_reference_derived, template, settings,
        count(*) as kept,
        unnest([
            {'check_name': 'step_exists', 'passed': count(*) filter (step_exists), 'told': count(step_exists)},
            {'check_name': 'continues', 'passed': count(*) filter (continues), 'told': count(continues)},
            {'check_name': 'arithmetic', 'passed': count(*) filter (arithmetic), 'told': count(arithmetic)},
            {'check_name': 'explains', 'passed': count(*) filter (explains), 'told': count(explains)},
            {'check_name': 'step_agrees', 'passed': count(*) filter (step_agrees), 'told': count(step_agrees)},
            {'check_name': 'resolved', 'passed': count(*) filter (resolved), 'told': count(resolved)}
        ]) as checked
    from graded_correction
    where rejected_because is null
    group by reasoner, corrector, is_reference_derived, template, settings
)
select
    reasoner, corrector, is_reference_derived, template, checked.check_name, kept, checked.passed,
    checked.told - checked.passed as failed, kept - checked.told as cannot_tell, settings
from counts
order by
    is_reference_derived, reasoner, corrector, template, settings,
    list_position(['step_exists', 'continues', 'arithmetic', 'explains', 'step_agrees', 'resolved'], checked.check_name);

-- correction_cost: what does an accepted correction cost in tokens, seconds and dollars, the rejected ones paid too?
--   reasoner, corrector: models
--   is_reference_derived: the corrector wrote from the reference solution
--   template: of the prompt, name.version
--   calls, kept: corrections asked for, and accepted
--   prompt_tokens, completion_tokens: of all calls
--   tokens_per_kept: completion tokens for each accepted correction; NULL: none was accepted, here and below
--   seconds_per_kept: seconds of one request at a time for each accepted correction
--   usd_per_kept: US dollars for each accepted correction; NULL: no price known
--   settings: of sampling (JSON)
create or replace view correction_cost as
select
    reasoner, corrector, is_reference_derived, template,
    count(*) as calls,
    count(*) filter (rejected_because is null) as kept,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    sum(completion_tokens) / nullif(kept, 0) as tokens_per_kept,
    sum(seconds) / nullif(kept, 0) as seconds_per_kept,
    sum(cost_usd) / nullif(kept, 0) as usd_per_kept,
    settings
from graded_correction
group by reasoner, corrector, is_reference_derived, template, settings
order by is_reference_derived, reasoner, corrector, template, settings;
