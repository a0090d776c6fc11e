-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS gpu_systems_now AS
SELECT DISTINCT system, gpu, gpus, kw, reference, at, confirmed, source
FROM gpu_systems
WHERE version = (SELECT argMax(version, loaded_at) FROM gpu_systems)
COMMENT 'gpu_systems, the list that was loaded last';
