-- Of the corrections wanted, those that would be kept but are of no mistake: why, and how many. Our grader finds the
-- rationale right, or it was cut off.
select
    'correction of a rationale that ' || if(rationale.is_correct, 'is right', 'was cut off') as reason, count(*)
from wanted
join correction on correction.id = wanted.id
join rationale on rationale.id = correction.rationale_id
where correction.rejected_because is null and (rationale.is_correct or rationale.is_cut)
group by reason
order by reason
