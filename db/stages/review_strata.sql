-- How many corrections may be drawn for review in each stratum (corrector, reasoner, data set, level)?
select corrector, reasoner, dataset, coalesce(level, subject, '-') as level, count(*) as corrections
from correction
join rationale on rationale.id = correction.rationale_id
join problem on problem.id = correction.problem_id
where (rejected_because is null or $with_rejected)
    and (len($correctors) = 0 or corrector in (select unnest($correctors)))
    and (len($reasoners) = 0 or reasoner in (select unnest($reasoners)))
    and (len($datasets) = 0 or dataset in (select unnest($datasets)))
group by all
order by all
