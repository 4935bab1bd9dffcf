-- One SQL text for SQLite and PostgreSQL: times are microseconds since the
-- epoch, JSON is text, flags are 0 or 1.

-- +goose Up
create table model (
	region   text   not null,
	name     text   not null,
	created  bigint not null,
	doc      text   not null,   -- hosting.Model
	primary key (region, name)
);
create index model_created on model (region, created, name);

create table endpoint_config (
	region   text   not null,
	name     text   not null,
	created  bigint not null,
	doc      text   not null,   -- hosting.EndpointConfig
	primary key (region, name)
);
create index endpoint_config_created on endpoint_config (region, created, name);

create table endpoint (
	id       text   primary key,
	region   text   not null,
	name     text   not null,
	name_key text   not null,   -- lower case: names are unique without regard to case
	status   text   not null,
	created  bigint not null,
	modified bigint not null,
	version  bigint not null,
	doc      text   not null    -- hosting.Endpoint
);
create unique index endpoint_name on endpoint (region, name_key);
-- Listing reads nothing but this index, in its order.
create index endpoint_created on endpoint (region, created, name, modified, status);

-- A deployment that is being carried out is due at some time; one that ended
-- stays as the record of what happened.
create table deployment (
	id           text   primary key,
	endpoint_id  text   not null,
	kind         text   not null,
	phase        text   not null,
	reason       text   not null,
	begun        bigint not null,
	ended        bigint,
	due          bigint,                      -- null: not until woken
	leased_until bigint not null default 0,
	wakes        bigint not null default 0,   -- tells a release that somebody woke the row during the turn
	doc          text   not null              -- hosting.Deployment
);
create index deployment_due on deployment (due);
create index deployment_endpoint on deployment (endpoint_id, begun);

create table instance (
	id          text    primary key,
	endpoint_id text    not null,
	fleet_id    text    not null,
	variant     text    not null,
	ordinal     integer not null,
	wanted      integer not null,
	status      text    not null,
	address     text    not null,
	detail      text    not null,
	attempts    integer not null,
	created     bigint  not null,
	version     bigint  not null,
	spec        text    not null              -- hosting.FleetVariant: what to run
);
create index instance_endpoint on instance (endpoint_id);
create index instance_version on instance (version);

-- What routers follow: the row with the highest version they have seen tells
-- them where to go on reading. A gone endpoint leaves its row for a while.
create table route (
	endpoint_id text    primary key,
	version     bigint  not null,
	gone        integer not null,
	doc         text    not null              -- hosting.Route
);
create index route_version on route (version);

-- The versions of route rows are drawn from here, inside the transaction that
-- writes them: what is visible is in order.
create table counter (
	name text   primary key,
	n    bigint not null
);
insert into counter (name, n) values ('route', 0), ('instance', 0), ('event', 0);

-- The history: one row for every transition, in its transaction.
create table event (
	seq           bigint primary key,
	endpoint_id   text   not null,
	deployment_id text   not null,
	at            bigint not null,
	kind          text   not null,
	doc           text   not null
);
create index event_endpoint on event (endpoint_id, seq);

create table tag (
	resource text not null,   -- the ARN as the resource itself has it
	key      text not null,
	value    text not null,
	primary key (resource, key)
);

-- +goose Down
drop table tag;
drop table event;
drop table counter;
drop table route;
drop table instance;
drop table deployment;
drop table endpoint;
drop table endpoint_config;
drop table model;
