-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS gpu_fleets_now AS
SELECT DISTINCT symbol, from_date, exact, servers, gpus_per_server, gpu, at, confirmed, source
FROM gpu_fleets
WHERE version = (SELECT argMax(version, loaded_at) FROM gpu_fleets)
COMMENT 'gpu_fleets, the list that was loaded last';
