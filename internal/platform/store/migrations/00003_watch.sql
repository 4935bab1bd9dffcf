-- Alarms, their history, and the samples that they are judged by.

-- +goose Up
create table alarm (
	region     text   not null,
	name       text   not null,
	version    bigint not null,   -- drawn from a counter: grows also when a name is used again
	configured bigint not null,
	definition text   not null,   -- alarm.Definition
	state      text   not null,   -- alarm.State
	primary key (region, name)
);

create table alarm_history (
	seq       bigint  primary key,
	region    text    not null,
	name      text    not null,
	composite integer not null,
	at        bigint  not null,
	kind      text    not null,
	summary   text    not null,
	data      text    not null
);
create index alarm_history_name on alarm_history (region, name, seq);
create index alarm_history_region on alarm_history (region, seq);
create index alarm_history_at on alarm_history (at);

-- A metric in one unit; its samples are in chunks.
create table series (
	id         bigint primary key,
	region     text   not null,
	namespace  text   not null,
	name       text   not null,
	dimensions text   not null,   -- []metric.Dimension, by name
	unit       text   not null
);
create unique index series_metric on series (region, namespace, name, dimensions, unit);

create table chunk (
	series_id bigint  not null,
	tier      integer not null,
	start     bigint  not null,   -- seconds since the epoch
	data      bytea   not null,   -- metric.Chunk
	primary key (series_id, tier, start)
);

insert into counter (name, n) values ('alarm', 0), ('alarm_history', 0), ('series', 0);

-- +goose Down
delete from counter where name in ('alarm', 'alarm_history', 'series');
drop table chunk;
drop table series;
drop table alarm_history;
drop table alarm;
