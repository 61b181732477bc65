-- Correctors compared: with people's grades (RQ1) and with each other. Reference-derived ones come last.

-- review_grade: which grade of each correction and reviewer counts? The latest event says it; a skip and an undo may leave none.
--   correction_id, reviewer: what was graded, by whom
--   is_model: the reviewer is a model, a judge: "model:NAME"
--   grade: excellent, good, poor
--   note: the reviewer's; NULL: none
--   created_at: when it was given
create or replace view review_grade as
select correction_id, reviewer, starts_with(reviewer, 'model:') as is_model, grade, note, created_at
from (
    select *, row_number() over (partition by correction_id, reviewer order by created_at desc, id desc) as age
    from review
)
where age = 1 and grade in ('excellent', 'good', 'poor')
order by correction_id, reviewer;

-- corrector_grades: how do reviewers grade each corrector's corrections (RQ1; the paper: 35 excellent, 11 good, 4 poor)?
--   dataset: whose problems
--   reasoner, corrector: models
--   is_reference_derived: the corrector wrote from the reference solution
--   by_model: graded by models, as judges; people's grades stand apart, and first
--   corrections: graded by at least one reviewer
--   reviewers: how many graded
--   excellent, good, poor: corrections by their grade: of several reviewers' the middle one, of two middle ones the worse
--   excellent_share: excellent / corrections, 0 to 1
--   effective_n: as how many independent corrections they count, as several of a problem are less than as many problems
--   low, high: of excellent_share, 95% Wilson interval of so many
--   poor_effective_n: the same as effective_n, for the share of poor ones
--   template, settings: of the prompt (name.version) and of sampling (JSON)
--   model_identity: weights and quantisation of the corrector; NULL: reference-derived
create or replace view corrector_grades as
with placed as (
    select
        correction_id, reviewer, is_model, grade,
        -- the alphabet has the grades from the best to the worst
        row_number() over (partition by correction_id, is_model order by grade) as place,
        count(*) over (partition by correction_id, is_model) // 2 + 1 as middle
    from review_grade
),
graded as (
    select
        problem_id, dataset, reasoner, corrector, is_reference_derived, is_model, template, settings, model_identity,
        reviewer, grade,
        place = middle as is_counted,
        place = middle and grade = 'excellent' as is_excellent,
        place = middle and grade = 'poor' as is_poor
    from placed
    join graded_correction on graded_correction.id = placed.correction_id
),
counted as (
    select
        *,
        count(*) filter (is_counted) over alike as of_problem,
        count(*) filter (is_excellent) over alike as excellent_of_problem,
        count(*) filter (is_poor) over alike as poor_of_problem
    from graded
    window alike as (
        partition by problem_id, reasoner, corrector, is_reference_derived, is_model, template, settings, model_identity
    )
)
select
    dataset, reasoner, corrector, is_reference_derived, is_model as by_model,
    count(*) filter (is_counted) as corrections,
    count(distinct reviewer) as reviewers,
    count(*) filter (is_excellent) as excellent,
    count(*) filter (is_counted and grade = 'good') as good,
    count(*) filter (is_poor) as poor,
    excellent / nullif(corrections, 0) as excellent_share,
    effective_n(is_counted, is_excellent, problem_id, of_problem, excellent_of_problem) as effective_n,
    wilson_low(excellent_share * effective_n, effective_n) as low,
    wilson_high(excellent_share * effective_n, effective_n) as high,
    effective_n(is_counted, is_poor, problem_id, of_problem, poor_of_problem) as poor_effective_n,
    template, settings, model_identity
from counted
group by dataset, reasoner, corrector, is_reference_derived, is_model, template, settings, model_identity
order by is_reference_derived, is_model, dataset, corrector, reasoner, template, settings, model_identity;

-- corrector_agreement: of mistakes that two correctors were given, which did both put right, and do they blame the same step?
--   dataset: whose problems
--   reasoner: the model that made the mistakes
--   corrector, other: two correctors; one that wrote from the reference solution is `other`
--   is_reference_derived: `other` wrote from the reference solution
--   mistakes: given to both, each once however often it was corrected
--   both_kept, only_corrector, only_other, neither: whose corrections are kept
--   corrector_ahead, other_ahead: problems of whose mistakes the one had more corrections kept; of these exact McNemar's p
--   same_step: of `both_kept`, where kept ones of the two name the same wrong step
--   same_step_share: same_step / both_kept, 0 to 1; NULL: there is none
--   templates: of the prompts of the two (name.version)
create or replace view corrector_agreement as
with asked as (
    select
        problem_id, rationale_id, dataset, reasoner, corrector, is_reference_derived, template,
        (is_reference_derived, corrector, template, settings, model_identity) as who,
        bool_or(rejected_because is null) as is_kept,
        list(distinct incorrect_step) filter (rejected_because is null) as steps
    from graded_correction
    group by all
),
by_problem as (
    select
        one.problem_id, one.dataset, one.reasoner, one.corrector, other.corrector as other, other.is_reference_derived,
        one.who, other.who as other_who, one.template, other.template as other_template,
        count(*) as mistakes,
        count(*) filter (one.is_kept and other.is_kept) as both_kept,
        count(*) filter (one.is_kept and not other.is_kept) as only_corrector,
        count(*) filter (not one.is_kept and other.is_kept) as only_other,
        count(*) filter (list_has_any(one.steps, other.steps)) as same_step
    from asked as one
    join asked as other on other.rationale_id = one.rationale_id and one.who < other.who
    group by all
)
select
    dataset, reasoner, corrector, other, is_reference_derived,
    sum(mistakes)::bigint as mistakes,
    sum(both_kept)::bigint as both_kept,
    sum(only_corrector)::bigint as only_corrector,
    sum(only_other)::bigint as only_other,
    sum(mistakes - both_kept - only_corrector - only_other)::bigint as neither,
    count(*) filter (only_corrector > only_other) as corrector_ahead,
    count(*) filter (only_corrector < only_other) as other_ahead,
    sum(same_step)::bigint as same_step,
    sum(same_step) / nullif(sum(both_kept), 0) as same_step_share,
    template || ', ' || other_template as templates
from by_problem
group by dataset, reasoner, who, other_who, corrector, other, is_reference_derived, template, other_template
order by is_reference_derived, dataset, reasoner, corrector, other, templates;

-- correction_agreement: where several corrections of one mistake are kept, do they name the same step?
--   rationale_id: the mistake
--   reasoner, dataset: who made it, and whose problem
--   kept: corrections of it that are kept
--   kept_reference_derived: of them, those written from the reference solution
--   steps_named: different steps among them
--   most_named: the step that most of them name, of several the first
--   agree_with_fault_step: how many name the mistake's first step that is demonstrably wrong
create or replace view correction_agreement as
select
    rationale_id, any_value(reasoner) as reasoner, any_value(dataset) as dataset,
    count(*) as kept,
    count(*) filter (is_reference_derived) as kept_reference_derived,
    count(distinct incorrect_step) as steps_named,
    mode(incorrect_step order by incorrect_step) as most_named,
    count(*) filter (incorrect_step = fault_step) as agree_with_fault_step
from graded_correction
where rejected_because is null
group by rationale_id
having kept > 1
order by rationale_id;
