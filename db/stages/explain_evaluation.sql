-- A graded test answer, or those to a problem ($of).
select
    id, model, arm, step, base, sample_index, reference, answer, is_correct, is_correct_authors, decided_by, is_cut,
    problem_id, checkpoint_id, text
from evaluation_result
where id = $id or problem_id = $of
order by model, arm, step, id
