-- Version 5: what is measured at each step of a training run. Runs of before have no rows.

create table training_metric (
    run_id uuid not null,
    step integer not null,
    base_model varchar not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    loss double not null,                -- mean, nats per output token
    learning_rate double not null,
    grad_norm double not null,           -- before clipping
    tokens_per_second double not null,
    memory_gib double not null,          -- peak so far: of the GPU, or of the process where there is none
    tokens_seen bigint not null,
    samples_seen bigint not null,
    created_at timestamptz not null
);
