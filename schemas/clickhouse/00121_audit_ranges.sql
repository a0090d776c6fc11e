-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS audit_ranges
(
    stream LowCardinality(String) COMMENT 'Stream',
    table_name LowCardinality(String) COMMENT 'Table that the rows belong to',
    life DateTime64(9, 'UTC') COMMENT 'When the stream was created',
    first_seq UInt64 COMMENT 'First sequence of the range',
    last_seq UInt64 COMMENT 'Last sequence of the range; of several rows with the same first_seq the greatest is what holds' CODEC(Delta, ZSTD(1)),
    first_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the first message of the range that it held, UTC' CODEC(Delta, ZSTD(1)),
    last_time DateTime64(9, 'UTC') COMMENT 'When JetStream stored the last one, UTC' CODEC(Delta, ZSTD(1)),
    row_count UInt64 COMMENT 'Rows that the messages make, without those that are dead' CODEC(T64, ZSTD(1)),
    checksum UInt64 COMMENT 'Sum, modulo 2^64, of xxh3(formatRow(\'RowBinary\', columns)) of those rows, as decoded from the messages' CODEC(ZSTD(1)),
    columns LowCardinality(String) COMMENT 'Columns of the checksum in their order, with commas between them',
    audit_id LowCardinality(String) COMMENT 'Audit that wrote it',
    audited_at DateTime64(9, 'UTC') COMMENT 'When, UTC' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (stream, life, table_name, first_seq, last_seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Checksums of what the streams held, range by range, made of the messages themselves: what the tables are held against once the messages are gone';
