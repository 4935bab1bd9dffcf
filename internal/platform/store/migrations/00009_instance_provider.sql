-- An instance's row names the provider that runs it, so that whoever adopts,
-- stops or removes it asks the right one. Until now there was one.

-- +goose Up
alter table instance add column provider text not null default 'process';

-- +goose Down
alter table instance drop column provider;
