-- Version 6, the tables that lema is first released with, from any version before it (1 to 5: files of its development).
-- DuckDB cannot drop a key, so each table is made anew; by name, so that what a version did not have yet is NULL or the
-- default. Without indexes, and with zstd for long text, a million completions take 236 MB instead of 340.
-- Corrections are derived: their rows come back, read anew, with the next `lema data`, `lema train` or `lema rederive`,
-- without a call.

alter table problem rename to problem_before;
create table problem (
    id uuid not null,
    dataset varchar not null,
    split varchar not null,
    question varchar not null,
    answer varchar not null,
    kind varchar not null,
    solution varchar,
    level varchar,
    subject varchar,
    source varchar
);
insert into problem by name from problem_before;
drop table problem_before;

alter table completion rename to completion_before;
create table completion (
    id uuid not null,
    purpose varchar not null,
    model varchar not null,
    model_identity varchar not null,
    template varchar not null,
    problem_id uuid not null,
    rationale_id uuid,
    checkpoint_id uuid,
    sampling varchar not null,
    sample_index integer not null,
    text varchar not null using compression 'zstd',
    finish_reason varchar,
    prompt_tokens integer,
    completion_tokens integer,
    latency_s double,
    cost_usd double,
    endpoint varchar not null,
    is_reference_derived boolean not null,
    created_at timestamptz not null,
    cached_prompt_tokens integer,
    shared_by integer not null default 1
);
insert into completion by name from completion_before;
drop table completion_before;

alter table attempt rename to attempt_before;
create table attempt (
    id uuid not null,
    completion_id uuid not null,
    error varchar not null,
    status integer,
    raw varchar using compression 'zstd',
    endpoint varchar not null,
    created_at timestamptz not null,
    cost_usd double
);
insert into attempt by name from attempt_before;
drop table attempt_before;

create table if not exists mended (
    record varchar not null,
    id uuid not null,
    field varchar not null
);

create table if not exists batch (
    id uuid not null,
    remote_id varchar not null,
    endpoint varchar not null,
    base_url varchar not null,
    purpose varchar not null,
    calls integer not null,
    created_at timestamptz not null
);

create table if not exists batch_call (
    batch_id uuid not null,
    completion_id uuid not null
);

create table if not exists batch_end (
    batch_id uuid not null,
    status varchar not null,
    ended_at timestamptz not null
);

alter table rationale rename to rationale_before;
create table rationale (
    id uuid not null,
    problem_id uuid not null,
    reasoner varchar not null,
    answer varchar,
    is_correct boolean not null,
    is_correct_authors boolean not null,
    decided_by varchar not null,
    is_cut boolean not null
);
insert into rationale by name from rationale_before;
drop table rationale_before;

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
    resolved boolean,
    mistaken_steps integer
);

alter table example rename to example_before;
create table example (
    id uuid not null,
    kind varchar not null,
    prompt varchar not null using compression 'zstd',
    output varchar not null using compression 'zstd',
    source_id uuid not null,
    problem_id uuid not null
);
insert into example by name from example_before;
drop table example_before;

alter table training_set rename to training_set_before;
create table training_set (
    id uuid not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    cot_examples integer not null,
    correction_examples integer not null,
    manifest varchar not null
);
insert into training_set by name from training_set_before;
drop table training_set_before;

alter table training_set_example rename to training_set_example_before;
create table training_set_example (
    training_set_id uuid not null,
    example_id uuid not null
);
insert into training_set_example by name from training_set_example_before;
drop table training_set_example_before;

alter table checkpoint rename to checkpoint_before;
create table checkpoint (
    id uuid not null,
    run_id uuid not null,
    base_model varchar not null,
    quantization varchar not null,
    training_set_id uuid not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    step integer not null,
    settings varchar not null,
    path varchar not null,
    loss double not null,
    tokens_seen bigint not null,
    samples_seen bigint not null,
    created_at timestamptz not null
);
insert into checkpoint by name from checkpoint_before;
drop table checkpoint_before;

create table if not exists training_metric (
    run_id uuid not null,
    step integer not null,
    base_model varchar not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    loss double not null,
    learning_rate double not null,
    grad_norm double not null,
    tokens_per_second double not null,
    memory_gib double not null,
    tokens_seen bigint not null,
    samples_seen bigint not null,
    created_at timestamptz not null
);

alter table evaluation rename to evaluation_before;
create table evaluation (
    id uuid not null,
    problem_id uuid not null,
    model varchar not null,
    base varchar not null,
    checkpoint_id uuid,
    sample_index integer not null,
    answer varchar,
    is_correct boolean not null,
    is_correct_authors boolean not null,
    decided_by varchar not null,
    is_cut boolean not null
);
insert into evaluation by name from evaluation_before;
drop table evaluation_before;

alter table review rename to review_before;
create table review (
    id uuid not null,
    correction_id uuid not null,
    reviewer varchar not null,
    grade varchar,
    note varchar,
    created_at timestamptz not null,
    event varchar not null default 'grade',
    completion_id uuid
);
insert into review by name from review_before;
drop table review_before;
