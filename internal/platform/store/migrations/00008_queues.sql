-- Every queue has the same columns: due, leased_until, lease and wakes.

-- +goose Up
alter table deployment add column lease bigint not null default 0;
alter table edge_stage add column lease bigint not null default 0;
alter table outbox     add column lease bigint not null default 0;
alter table outbox     add column wakes bigint not null default 0;

-- +goose Down
alter table outbox     drop column wakes;
alter table outbox     drop column lease;
alter table edge_stage drop column lease;
alter table deployment drop column lease;
