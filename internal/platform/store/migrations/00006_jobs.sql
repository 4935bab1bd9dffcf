-- Compilation and packaging jobs, and the keys that sign packages.

-- +goose Up
create table job (
	id           text   primary key,
	kind         text   not null,
	region       text   not null,
	name         text   not null,
	model_name   text   not null,
	status       text   not null,
	created      bigint not null,
	modified     bigint not null,
	due          bigint,                      -- null: it ended
	leased_until bigint not null default 0,
	lease        bigint not null default 0,   -- tells a claim from a later one; leased_until moves during the work
	wakes        bigint not null default 0,
	doc          text   not null              -- packaging.Job
);
create unique index job_name on job (kind, region, name);
create index job_created on job (kind, region, created, name);
create index job_due on job (due);

-- From now on devices refuse packages of the model with a smaller serial.
create table package_floor (
	region     text   not null,
	model_name text   not null,
	serial     bigint not null,
	primary key (region, model_name)
);

create table signing_root (
	id          text   primary key,           -- SHA-256 of the certificate, shortened
	created     bigint not null,
	trusted     integer not null,             -- 0: devices shall forget it
	certificate text   not null,              -- PEM
	private_key text   not null               -- PEM, PKCS #8
);

create table signing_key (
	number      bigint primary key,           -- the newest signs
	root_id     text   not null,
	created     bigint not null,
	revoked     integer not null,
	certificate text   not null,
	private_key text   not null
);

insert into counter (name, n) values ('package', 0), ('signing_key', 0);

-- +goose Down
delete from counter where name in ('package', 'signing_key');
drop table signing_key;
drop table signing_root;
drop table package_floor;
drop table job;
