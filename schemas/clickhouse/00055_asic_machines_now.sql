-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS asic_machines_now AS
SELECT DISTINCT machine, th_per_s, j_per_th, at, confirmed, source
FROM asic_machines
WHERE version = (SELECT argMax(version, loaded_at) FROM asic_machines)
COMMENT 'asic_machines, the list that was loaded last';
