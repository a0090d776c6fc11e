-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS deployment
(
    id UUID COMMENT 'Identity of this database, drawn once; the lander writes it beside each range, so that one NATS never lands into two databases',
    made_at DateTime64(9, 'UTC') COMMENT 'When it was drawn, UTC; of several the first counts'
)
ENGINE = MergeTree
ORDER BY made_at
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Who this database is';
