-- A checkpoint with what its evaluation says, or those that trained on a set ($of).
select
    checkpoint.id, checkpoint.base_model, checkpoint.quantization, checkpoint.arm, checkpoint.dataset, checkpoint.seed,
    checkpoint.step, checkpoint.loss, checkpoint.tokens_seen, checkpoint.samples_seen, checkpoint.path,
    (select count(*) from evaluation where evaluation.checkpoint_id = checkpoint.id) as evaluated,
    (select count(*) from evaluation where evaluation.checkpoint_id = checkpoint.id and is_correct) as right_answers,
    checkpoint.training_set_id, checkpoint.created_at
from checkpoint
where checkpoint.id = $id or checkpoint.training_set_id = $of
order by checkpoint.base_model, checkpoint.step, checkpoint.id
