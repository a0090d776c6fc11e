-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS retirements
(
    retirement_id String COMMENT 'Name of the retirement',
    state Enum8('begun' = 1, 'done' = 2) COMMENT 'begun: the rows are being removed; done: they are gone',
    table_name LowCardinality(String) COMMENT 'Table that the rows were removed from',
    partition_id LowCardinality(String) COMMENT 'Its partition, as system.parts names it',
    before DateTime64(9, 'UTC') COMMENT 'Rows whose message JetStream stored before this moment were removed: the stream did not hold their messages any more',
    row_count UInt64 COMMENT 'How many rows there were',
    oldest DateTime64(9, 'UTC') COMMENT 'Event time of the oldest, UTC',
    newest DateTime64(9, 'UTC') COMMENT 'Event time of the newest, UTC',
    keep_s UInt64 COMMENT 'How long rows of the table were to be kept, seconds',
    at DateTime64(9, 'UTC') COMMENT 'When this row was written, UTC'
)
ENGINE = MergeTree
ORDER BY (table_name, partition_id, retirement_id, state)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What was removed because its time to be kept was over (audit.retention), partition by partition: nothing is removed without a line here';
