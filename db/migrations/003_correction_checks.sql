-- Version 3: what is checked of a correction beyond its answer. Corrections are derived: their rows come back, read anew, with
-- the next `lema data`, `lema train` or `lema rederive`, without a call.

drop table correction;
create table correction (
    id uuid not null,
    problem_id uuid not null,
    rationale_id uuid not null,
    corrector varchar not null,
    is_reference_derived boolean not null,
    incorrect_step integer,
    explanation varchar using compression 'zstd',
    correct_solution varchar using compression 'zstd',
    answer varchar,
    is_correct boolean not null,
    rejected_because varchar,
    fault_step integer,
    step_exists boolean,
    continues boolean,
    arithmetic boolean,
    explains boolean,
    step_agrees boolean,
    resolved boolean
);
