-- A stretch of the completions of one purpose, with what grading needs: those that have no derived row yet, or all of them.
-- Stretches are of rowid: completions are only ever appended, and such a stretch is found without reading the rest.
select
    completion.id::varchar as id, completion.problem_id::varchar as problem_id,
    completion.rationale_id::varchar as rationale_id, completion.checkpoint_id::varchar as checkpoint_id,
    completion.model, completion.model_identity, completion.sample_index, completion.text, completion.finish_reason,
    completion.is_reference_derived, problem.answer as reference, problem.kind,
    problem.question, problem.solution, mistaken.text as mistaken_text,
    mistaken.template as mistaken_template
from completion
join problem on problem.id = completion.problem_id
left join completion as mistaken on mistaken.id = completion.rationale_id
where completion.purpose = $purpose
    and completion.rowid >= $first and completion.rowid < $first + $count
    and ($everything or completion.id not in (
        select id from rationale union all select id from correction union all select id from evaluation
    ))
order by completion.rowid
