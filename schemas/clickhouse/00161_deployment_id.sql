-- +goose NO TRANSACTION
-- +goose Up
INSERT INTO deployment SELECT generateUUIDv4(), now64(9) WHERE (SELECT count() FROM deployment) = 0;
