-- What share of the corrections of the table `graded` (correction_id, reviewer, grade) has which grade, by corrector and
-- reviewer? Several corrections of one problem count as in effective_n. One row a grade that may be given.
with asked as (
    select
        correction.is_reference_derived, correction.corrector, graded.reviewer, possible.grade, rationale.problem_id,
        graded.grade = possible.grade as is_hit
    from graded
    join correction on correction.id = graded.correction_id
    join rationale on rationale.id = correction.rationale_id
    cross join unnest(['excellent', 'good', 'poor']) as possible (grade)
),
counted as (
    select *, count(*) over alike as of_problem, count(*) filter (is_hit) over alike as hits_of_problem
    from asked
    window alike as (partition by problem_id, is_reference_derived, corrector, reviewer, grade)
)
select
    is_reference_derived, corrector, reviewer, grade,
    count(*) filter (is_hit) as given,
    given / count(*) as share,
    effective_n(true, is_hit, problem_id, of_problem, hits_of_problem) as effective_n,
    wilson_low(share * effective_n, effective_n) as low,
    wilson_high(share * effective_n, effective_n) as high
from counted
group by is_reference_derived, corrector, reviewer, grade
