-- Corrections to look at: of each corrector and reason for rejection (NULL: kept) some, drawn by a hash with the seed.
with candidate as (
    select
        correction.id, correction.corrector, correction.is_reference_derived, rationale.reasoner, correction.rejected_because,
        row_number() over (
            partition by correction.corrector, correction.rejected_because order by hash(correction.id, $seed::bigint), correction.id
        ) as rank
    from correction
    join rationale on rationale.id = correction.rationale_id
)
select id::varchar as id, corrector, is_reference_derived, reasoner, rejected_because
from candidate
where rank <= if(rejected_because is null, $kept::bigint, $rejected::bigint)
order by is_reference_derived, corrector, rejected_because nulls first, rank
