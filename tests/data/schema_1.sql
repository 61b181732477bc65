-- The tables of version 1, as files of lema 0.1.0 have them: what migrations start from in tests/records/test_schema.py.

create table meta (
    key varchar primary key,
    value varchar not null
);

create table problem (
    id uuid primary key,
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

create table completion (
    id uuid primary key,
    purpose varchar not null,            -- sample, correct, evaluate
    model varchar not null,              -- name for people
    model_identity varchar not null,     -- weights + quantisation + checkpoint
    template varchar not null,           -- name.version; the prompt is template + inputs
    problem_id uuid not null,
    rationale_id uuid,                   -- the mistake that was sent to a corrector
    checkpoint_id uuid,                  -- the adapter that answered
    sampling varchar not null,           -- JSON: the parameters that change the output
    sample_index integer not null,
    text varchar not null,
    finish_reason varchar,
    prompt_tokens integer,
    completion_tokens integer,
    latency_s double not null,
    cost_usd double,                     -- NULL: no price known
    endpoint varchar not null,
    is_reference_derived boolean not null,
    created_at timestamptz not null
);

create table attempt (
    id uuid primary key,
    completion_id uuid not null,
    error varchar not null,
    status integer,
    raw varchar,
    endpoint varchar not null,
    created_at timestamptz not null
);

create table rationale (
    id uuid primary key,
    problem_id uuid not null,
    reasoner varchar not null,
    answer varchar,
    is_correct boolean not null,
    is_correct_authors boolean not null,
    decided_by varchar not null,
    is_cut boolean not null              -- ended by max_tokens: never trains, is no mistake of reasoning
);

create table correction (
    id uuid primary key,
    problem_id uuid not null,
    rationale_id uuid not null,
    corrector varchar not null,
    is_reference_derived boolean not null,
    incorrect_step integer,
    explanation varchar,
    correct_solution varchar,
    answer varchar,
    is_correct boolean not null,
    rejected_because varchar             -- NULL: kept
);

create table example (
    id uuid primary key,
    kind varchar not null,               -- cot, correction
    prompt varchar not null,
    output varchar not null,
    source_id uuid not null,
    problem_id uuid not null
);

create table training_set (
    id uuid primary key,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    cot_examples integer not null,
    correction_examples integer not null,
    manifest varchar not null            -- JSON: how it was put together, what was left out and why
);

create table training_set_example (
    training_set_id uuid not null,
    example_id uuid not null,
    primary key (training_set_id, example_id)
);

create table checkpoint (
    id uuid primary key,
    run_id uuid not null,
    base_model varchar not null,
    quantization varchar not null,
    training_set_id uuid not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    step integer not null,
    settings varchar not null,           -- JSON
    path varchar not null,
    loss double not null,
    tokens_seen bigint not null,
    samples_seen bigint not null,
    created_at timestamptz not null
);

create table evaluation (
    id uuid primary key,
    problem_id uuid not null,
    model varchar not null,
    base varchar not null,               -- weights and quantisation as served
    checkpoint_id uuid,                  -- NULL: the base model
    sample_index integer not null,
    answer varchar,
    is_correct boolean not null,
    is_correct_authors boolean not null,
    decided_by varchar not null,
    is_cut boolean not null
);

create table review (
    id uuid primary key,
    correction_id uuid not null,
    reviewer varchar not null,
    grade varchar not null,              -- excellent, good, poor
    note varchar,
    created_at timestamptz not null      -- append-only events: the latest of a correction and reviewer counts
);
