-- Which servers have had the database: one row for each start. The token of the
-- first is the database's identity; the position is the sum of all counters when
-- the server started, which only grows. A data directory remembers the last row
-- that it made, so that an older copy of the database, or another one, is told.

-- +goose Up
create table generation (
	term     bigint primary key,
	token    text   not null,
	position bigint not null,
	started  bigint not null
);

-- +goose Down
drop table generation;
