-- The kept corrections among those wanted, as pairs of mistake and correction.
select correction.rationale_id::varchar, correction.id::varchar
from wanted
join correction on correction.id = wanted.id
where correction.rejected_because is null
order by correction.id
