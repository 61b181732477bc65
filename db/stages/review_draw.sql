-- The corrections of a sample: of each stratum in the table `stratum` as many as it says, the first by a hash with the seed.
with candidate as (
    select
        correction.id, stratum.size, md5($seed || ' ' || correction.id::varchar) as place,
        row_number() over (partition by stratum.number order by place) as rank
    from correction
    join rationale on rationale.id = correction.rationale_id
    join problem on problem.id = correction.problem_id
    join stratum on stratum.corrector = correction.corrector and stratum.reasoner = rationale.reasoner
        and stratum.dataset = problem.dataset and stratum.level = coalesce(problem.level, problem.subject, '-')
    where rejected_because is null or $with_rejected
)
select id::varchar
from candidate
where rank <= size
order by place
