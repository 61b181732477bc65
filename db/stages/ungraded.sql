-- Completions of one purpose that have no derived row yet (or all of them, to derive anew), with what grading needs.
select
    completion.id, completion.problem_id, completion.rationale_id, completion.checkpoint_id, completion.model,
    completion.model_identity, completion.sample_index, completion.text, completion.finish_reason,
    completion.is_reference_derived, problem.answer as reference, problem.kind, mistaken.text as mistaken_text
from completion
join problem on problem.id = completion.problem_id
left join completion as mistaken on mistaken.id = completion.rationale_id
where completion.purpose = $purpose
    and ($everything or completion.id not in (
        select id from rationale union all select id from correction union all select id from evaluation
    ))
order by completion.id
