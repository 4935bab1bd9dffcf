-- What gates have weighed so far of deployments in progress, so that the next
-- server goes on with it. A row is of one variant; life and number say which of
-- two documents is newer: those of another life of the server are older.

-- +goose Up
create table evidence (
	deployment_id text   not null,
	variant       text   not null,
	life          text   not null,
	number        bigint not null,
	doc           text   not null,
	primary key (deployment_id, variant)
);

-- +goose Down
drop table evidence;
