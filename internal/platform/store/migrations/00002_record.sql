-- +goose Up

-- A deployment's row outlives its endpoint's: it says itself whose it was.
alter table deployment add column region   text not null default '';
alter table deployment add column name     text not null default '';
alter table deployment add column name_key text not null default '';   -- lower case
update deployment set
	region   = coalesce((select e.region   from endpoint e where e.id = deployment.endpoint_id), ''),
	name     = coalesce((select e.name     from endpoint e where e.id = deployment.endpoint_id), ''),
	name_key = coalesce((select e.name_key from endpoint e where e.id = deployment.endpoint_id), '');
create index deployment_name on deployment (region, name_key, begun, id);
create index event_deployment on event (deployment_id, seq);

-- What is still to be delivered: one row for every event and webhook, written
-- in the transaction that the event tells of, gone when it was delivered.
create table outbox (
	webhook      text    not null,             -- its name in the configuration
	-- region/name, lower case: events of one endpoint, and of a later one of its
	-- name, are delivered in order of seq
	endpoint     text    not null,
	seq          bigint  not null,
	at           bigint  not null,
	kind         text    not null,             -- the event's detail-type
	attempts     integer not null default 0,
	due          bigint  not null,
	leased_until bigint  not null default 0,
	body         text    not null,
	primary key (webhook, endpoint, seq)
);

-- +goose Down
drop table outbox;
drop index event_deployment;
drop index deployment_name;
alter table deployment drop column name_key;
alter table deployment drop column name;
alter table deployment drop column region;
