-- The kept corrections among those wanted, as pairs of mistake and correction. What was imported may be of no mistake.
select correction.rationale_id::varchar, correction.id::varchar
from wanted
join correction on correction.id = wanted.id
join rationale on rationale.id = correction.rationale_id
where correction.rejected_because is null and not rationale.is_correct and not rationale.is_cut
order by correction.id
