-- Version 2: cached prompt tokens, samples that share a request, batches, mended text; and tables without indexes.
-- The one writer keeps keys unique by itself (records/bulk.py). Without indexes, and with zstd for long text, a million completions
-- take 236 MB instead of 340. DuckDB cannot drop a key, so each table is made anew.

alter table problem rename to problem_1;
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
insert into problem from problem_1;
drop table problem_1;

alter table completion rename to completion_1;
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
insert into completion select *, null, 1 from completion_1;
drop table completion_1;

alter table attempt rename to attempt_1;
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
insert into attempt select *, null from attempt_1;
drop table attempt_1;

alter table rationale rename to rationale_1;
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
insert into rationale from rationale_1;
drop table rationale_1;

alter table correction rename to correction_1;
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
    rejected_because varchar
);
insert into correction from correction_1;
drop table correction_1;

alter table example rename to example_1;
create table example (
    id uuid not null,
    kind varchar not null,
    prompt varchar not null using compression 'zstd',
    output varchar not null using compression 'zstd',
    source_id uuid not null,
    problem_id uuid not null
);
insert into example from example_1;
drop table example_1;

alter table training_set rename to training_set_1;
create table training_set (
    id uuid not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    cot_examples integer not null,
    correction_examples integer not null,
    manifest varchar not null
);
insert into training_set from training_set_1;
drop table training_set_1;

alter table training_set_example rename to training_set_example_1;
create table training_set_example (
    training_set_id uuid not null,
    example_id uuid not null
);
insert into training_set_example from training_set_example_1;
drop table training_set_example_1;

alter table checkpoint rename to checkpoint_1;
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
insert into checkpoint from checkpoint_1;
drop table checkpoint_1;

alter table evaluation rename to evaluation_1;
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
insert into evaluation from evaluation_1;
drop table evaluation_1;

alter table review rename to review_1;
create table review (
    id uuid not null,
    correction_id uuid not null,
    reviewer varchar not null,
    grade varchar not null,
    note varchar,
    created_at timestamptz not null
);
insert into review from review_1;
drop table review_1;

create table mended (
    record varchar not null,
    id uuid not null,
    field varchar not null
);

create table batch (
    id uuid not null,
    remote_id varchar not null,
    endpoint varchar not null,
    base_url varchar not null,
    purpose varchar not null,
    calls integer not null,
    created_at timestamptz not null
);

create table batch_call (
    batch_id uuid not null,
    completion_id uuid not null
);

create table batch_end (
    batch_id uuid not null,
    status varchar not null,
    ended_at timestamptz not null
);
