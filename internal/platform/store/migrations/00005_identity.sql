-- Who devices are, and what their certificates allow.

-- +goose Up

-- The key that device certificates are signed with: whoever reads this table
-- can be any device, and the server to all of them. One row.
create table device_ca (
	name        text   primary key,
	created     bigint not null,
	certificate text   not null,   -- PEM
	private_key text   not null,   -- PEM
	seed        text   not null    -- hex; the secrets of enrollment tokens are derived from it
);

create table thing_type (
	region  text   not null,
	name    text   not null,
	created bigint not null,
	doc     text   not null,      -- trust.ThingType
	primary key (region, name)
);

create table thing (
	region     text   not null,
	name       text   not null,
	created    bigint not null,
	type       text   not null,   -- of thing_type; may be empty
	attributes text   not null,   -- a JSON object
	doc        text   not null,   -- trust.Thing
	primary key (region, name)
);

create table device_policy (
	region  text   not null,
	name    text   not null,
	created bigint not null,
	doc     text   not null,      -- trust.Policy
	primary key (region, name)
);

create table role_alias (
	region  text   not null,
	name    text   not null,
	created bigint not null,
	doc     text   not null,      -- trust.RoleAlias
	primary key (region, name)
);

-- What servers follow: the row with the highest version they have seen tells
-- them where to go on reading. A gone certificate leaves its row for a while.
create table certificate (
	id         text    primary key,
	region     text    not null,
	version    bigint  not null,
	gone       integer not null,
	status     text    not null,
	enrolled   integer not null,
	created    bigint  not null,
	modified   bigint  not null,
	not_before bigint  not null,
	not_after  bigint  not null,
	pem        text    not null
);
create unique index certificate_version on certificate (version);

create table certificate_thing (
	certificate text not null,
	region      text not null,
	thing       text not null,
	primary key (certificate, thing)
);
create index certificate_thing_name on certificate_thing (region, thing, certificate);

create table certificate_policy (
	certificate text not null,
	region      text not null,
	policy      text not null,
	primary key (certificate, policy)
);
create index certificate_policy_name on certificate_policy (region, policy, certificate);

-- A token that was given out and has not expired.
create table enrollment (
	id          text   primary key,
	region      text   not null,
	fleet       text   not null,
	device      text   not null,
	expires     bigint not null,
	csr         text   not null,   -- what it was used for; empty: it was not
	certificate text   not null
);
create unique index enrollment_device on enrollment (region, fleet, device);
create index enrollment_expires on enrollment (expires);

insert into counter (name, n) values ('certificate', 0);

-- +goose Down
delete from counter where name = 'certificate';
drop table enrollment;
drop table certificate_policy;
drop table certificate_thing;
drop table certificate;
drop table role_alias;
drop table device_policy;
drop table thing;
drop table thing_type;
drop table device_ca;
