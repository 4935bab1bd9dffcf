-- Devices are looked up by their thing when they ask for objects.

-- +goose Up
create index device_thing on device (fleet_id, thing);

-- +goose Down
drop index device_thing;
