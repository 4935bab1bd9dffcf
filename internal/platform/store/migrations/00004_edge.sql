-- The edge: fleets, devices, deployment plans, their stages, and a row for
-- every device in a stage.

-- +goose Up
create table fleet (
	id       bigint  primary key,
	region   text    not null,
	name     text    not null,
	created  bigint  not null,
	modified bigint  not null,
	devices  bigint  not null default 0,   -- how many rows of device it has; kept with them
	deleting integer not null default 0,   -- its devices are being removed, and then it
	doc      text    not null              -- edge.Fleet
);
create unique index fleet_name on fleet (region, name);
create index fleet_created on fleet (region, created, name);

-- Heartbeats rewrite a row and no index.
create table device (
	id          bigint primary key,            -- grows with the time of registration
	fleet_id    bigint not null,
	name        text   not null,
	description text   not null,
	thing       text   not null,
	registered  bigint not null,
	heartbeat   bigint not null default 0,
	agent       text   not null default '',
	models      text   not null default ''     -- []edge.LoadedModel; '' if it never said
);
create unique index device_name on device (fleet_id, name);
create index device_walk on device (fleet_id, id);

create table edge_plan (
	id       bigint primary key,
	region   text   not null,
	account  text   not null,
	name     text   not null,
	fleet    text   not null,     -- the name of one, which may be gone
	created  bigint not null,
	modified bigint not null,
	models   text   not null,     -- []edge.ModelConfig
	policy   text   not null      -- edge.Policy
);
create unique index edge_plan_name on edge_plan (region, name);
create index edge_plan_created on edge_plan (region, created, name);
create index edge_plan_fleet on edge_plan (region, fleet);

-- The counters are those of the rows that the stage owns, and change with them.
create table edge_stage (
	id           bigint  primary key,
	plan_id      bigint  not null,
	fleet_id     bigint  not null default 0,   -- since its first start
	ordinal      integer not null,
	name         text    not null,
	status       text    not null,
	active       integer not null default 0,
	removed      integer not null default 0,   -- it is deleted; its rows are still to go
	attempt      bigint  not null default 0,   -- number of the order in hand; a row of an earlier one is not offered
	deployment   text    not null default '',  -- its name
	started      bigint  not null default 0,
	due          bigint,                       -- null: not until woken
	leased_until bigint  not null default 0,
	wakes        bigint  not null default 0,
	ready        bigint  not null default 0,
	inprogress   bigint  not null default 0,
	deployed     bigint  not null default 0,
	failed       bigint  not null default 0,
	stopping     bigint  not null default 0,
	stopped      bigint  not null default 0,
	selection    text    not null,             -- edge.Selection
	orders       text    not null default '',  -- []edge.Order: what it deploys, as of its start
	doc          text    not null              -- the rest of edge.Stage
);
create unique index edge_stage_name on edge_stage (plan_id, name);
create unique index edge_stage_deployment on edge_stage (deployment) where deployment <> '';
create index edge_stage_due on edge_stage (due) where due is not null;
create index edge_stage_active on edge_stage (fleet_id) where active = 1;

-- A device in a stage. Where stages overlap, one of them owns the device.
create table edge_row (
	stage_id   bigint  not null,
	device_id  bigint  not null,
	plan_id    bigint  not null,
	owned      integer not null,
	open       integer not null,               -- its device has still to say something
	attempt    bigint  not null,
	status     text    not null,
	undoing    integer not null default 0,
	started    bigint  not null default 0,
	ended      bigint  not null default 0,
	name       text    not null,               -- the device's, which may be gone
	message    text    not null default '',
	primary key (stage_id, device_id)
);
create unique index edge_row_owner on edge_row (plan_id, device_id) where owned = 1;
create index edge_row_name on edge_row (stage_id, name, device_id);
create index edge_row_open on edge_row (device_id) where open = 1;
create index edge_row_waiting on edge_row (stage_id, status, started) where open = 1;

-- What a plan deployed to a device last, and what was there before it.
create table edge_package (
	id    bigint primary key,
	job   text   not null,
	s3url text   not null,
	sha1  text   not null
);
create unique index edge_package_object on edge_package (s3url, sha1);
create table device_handle (
	device_id  bigint not null,
	handle     text   not null,
	plan_id    bigint not null,               -- who put it there
	package_id bigint not null,
	before_id  bigint not null default 0,     -- what it replaced; 0: nothing
	primary key (device_id, handle)
);

create table edge_event (
	seq     bigint primary key,
	plan_id bigint not null,
	at      bigint not null,
	stage   text   not null,
	kind    text   not null,
	by_whom text   not null,
	told    text   not null
);
create index edge_event_plan on edge_event (plan_id, seq);

insert into counter (name, n) values
	('fleet', 0), ('device', 0), ('edge_plan', 0), ('edge_stage', 0), ('edge_package', 0), ('edge_event', 0);

-- +goose Down
delete from counter where name in ('fleet', 'device', 'edge_plan', 'edge_stage', 'edge_package', 'edge_event');
drop table edge_event;
drop table device_handle;
drop table edge_package;
drop table edge_row;
drop table edge_stage;
drop table edge_plan;
drop table device;
drop table fleet;
