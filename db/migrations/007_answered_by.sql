-- Version 7: the model that a server says answered, where it is not the one that was asked for.

alter table completion add column answered_by varchar;
