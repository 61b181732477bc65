-- Who wrote the corrections wanted, and whose mistakes they are of.
select correction.id::varchar, correction.corrector, rationale.reasoner, correction.is_reference_derived
from wanted
join correction on correction.id = wanted.id
join rationale on rationale.id = correction.rationale_id
