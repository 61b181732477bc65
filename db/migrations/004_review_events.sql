-- Version 4: reviews say which event they are (a skip and an undo have no grade of their own), and which reply of a judge.

alter table review rename to review_1;
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
insert into review select *, 'grade', null from review_1;
drop table review_1;
