-- What was a record made from, and what came of it: problem -> rationale -> correction -> example -> training set -> checkpoint -> evaluation?
--   $id: how the record's id begins, e.g. 5b0b5d21; `lema explain` shows one record with its texts
--   stage, record: 1 problem ... 7 evaluation
--   id: the record's
--   is_asked: its id begins so
--   made_from: the record of an earlier stage that it was made from; NULL: a problem
--   facts: what it is, in a line
-- Of the examples of a training set, and the evaluations of a checkpoint, only those on the way are rows; the rest are counted.
with bounds as (
    select
        try_cast(rpad(replace(lower($id), '-', ''), 32, '0') as uuid) as first,
        try_cast(rpad(replace(lower($id), '-', ''), 32, 'f') as uuid) as last
    where replace($id, '-', '') <> ''
),
asked as materialized (
    select 'problem' as record, problem.id from problem join bounds on problem.id between first and last
    union all
    select 'rationale', rationale.id from rationale join bounds on rationale.id between first and last
    union all
    select 'correction', correction.id from correction join bounds on correction.id between first and last
    union all
    select 'example', example.id from example join bounds on example.id between first and last
    union all
    select 'training_set', training_set.id from training_set join bounds on training_set.id between first and last
    union all
    select 'checkpoint', checkpoint.id from checkpoint join bounds on checkpoint.id between first and last
    union all
    select 'evaluation', evaluation.id from evaluation join bounds on evaluation.id between first and last
),
asked_evaluation as materialized (select evaluation.* from evaluation semi join asked using (id)),
-- upwards, from what was asked for to its problem
source as materialized (select source_id as id, problem_id from example semi join asked using (id)),
correction_above as materialized (
    select id, rationale_id, problem_id from correction where id in (select id from asked union all select id from source)
),
rationale_above as materialized (
    select id, problem_id from rationale
    where id in (select id from asked union all select id from source union all select rationale_id from correction_above)
),
problem_above as materialized (
    select problem.* from problem
    where id in (
        select id from asked
        union all select problem_id from source
        union all select problem_id from rationale_above
        union all select problem_id from asked_evaluation
    )
),
-- downwards, from what was asked for to the checkpoints
rationale_below as materialized (
    select id from rationale where id in (select id from asked) or problem_id in (select id from asked)
),
correction_below as materialized (
    select id from correction where id in (select id from asked) or rationale_id in (select id from rationale_below)
),
example_below as materialized (
    select id, kind, source_id from example
    where id in (select id from asked)
        or source_id in (
            select id from asked union all select id from rationale_below union all select id from correction_below
        )
),
member as materialized (
    select training_set_id, min(example_id) as example_id, count(*) as examples
    from training_set_example
    where example_id in (select id from example_below)
    group by training_set_id
),
checkpoint_known as materialized (
    select * from checkpoint
    where id in (select id from asked union all select checkpoint_id from asked_evaluation)
        or training_set_id in (select id from asked union all select training_set_id from member)
),
set_known as materialized (
    select training_set.*, member.example_id, coalesce(member.examples, 0) as on_the_way
    from training_set
    left join member on member.training_set_id = training_set.id
    where id in (
        select id from asked
        union all select training_set_id from member
        union all select training_set_id from checkpoint_known
    )
),
evaluated as (
    select checkpoint_id, count(*) as answers, count(*) filter (is_correct) as correct
    from evaluation
    where checkpoint_id in (select id from checkpoint_known)
    group by checkpoint_id
),
found as (
    select
        1 as stage, 'problem' as record, id, null::uuid as made_from,
        concat_ws(', ', dataset, split, level, subject, 'answer ' || answer) as facts
    from problem_above
    union all
    select
        2, 'rationale', id, problem_id,
        concat_ws(', ', reasoner, coalesce('answer ' || answer, 'no answer'), case when is_cut then 'cut off' when is_correct then 'right' else 'wrong' end)
    from rationale
    where id in (select id from rationale_above union all select id from rationale_below)
    union all
    select
        3, 'correction', id, rationale_id,
        concat_ws(
            ', ', corrector, case when is_reference_derived then 'written from the reference solution' end,
            'step ' || incorrect_step, coalesce('rejected: ' || rejected_because, 'kept')
        )
    from correction
    where id in (select id from correction_above union all select id from correction_below)
    union all
    select 4, 'example', id, source_id, kind
    from example_below
    union all
    select
        5, 'training_set', id, example_id,
        format('arm {}, seed {}, {} CoT + {} corrections', arm, seed, cot_examples, correction_examples)
            || case when on_the_way > 0 then format(', {} of them on the way', on_the_way) else '' end
    from set_known
    union all
    select
        6, 'checkpoint', id, training_set_id,
        format('{}, step {}, loss {:.4f}', base_model, step, loss)
            || coalesce(format(', {} of {} test answers right', evaluated.correct, evaluated.answers), '')
    from checkpoint_known
    left join evaluated on evaluated.checkpoint_id = checkpoint_known.id
    union all
    select
        7, 'evaluation', id, coalesce(checkpoint_id, problem_id),
        concat_ws(', ', model, case when checkpoint_id is null then 'base' end, coalesce('answer ' || answer, 'no answer'), case when is_correct then 'right' else 'wrong' end)
    from evaluation
    where id in (select id from asked) or problem_id in (select id from asked)
)
select stage, record, id, id in (select id from asked) as is_asked, made_from, facts
from found
order by stage, id;
