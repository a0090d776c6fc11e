-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS audits
(
    audit_id LowCardinality(String) COMMENT 'Name of the audit; it has a row for each stream',
    stream LowCardinality(String) COMMENT 'Stream that was compared with its tables',
    life DateTime64(9, 'UTC') COMMENT 'When the stream was created; one that is made anew is another life, and its sequences mean other messages',
    kind LowCardinality(String) COMMENT 'full: all that the stream holds, and what it held against earlier checksums. new: what came since the audit before. since: from a time that somebody named',
    by LowCardinality(String) COMMENT 'service: the scheduled audit; command: somebody asked',
    started DateTime64(9, 'UTC') COMMENT 'When the audit of the stream began, UTC',
    ended DateTime64(9, 'UTC') COMMENT 'When it ended, UTC',
    first_seq UInt64 COMMENT 'First sequence that was compared; 0: the stream is empty',
    last_seq UInt64 COMMENT 'Last sequence that was compared',
    settled_seq UInt64 COMMENT 'Up to it everything had to be in the tables; what is behind may be on its way',
    published UInt64 COMMENT 'Events of the messages compared' CODEC(T64, ZSTD(1)),
    landed UInt64 COMMENT 'Different ones of them that are in the tables' CODEC(T64, ZSTD(1)),
    dead UInt64 COMMENT 'Those that have a dead letter' CODEC(T64, ZSTD(1)),
    pending UInt64 COMMENT 'Those behind settled_seq that are not in the tables yet' CODEC(T64, ZSTD(1)),
    lost UInt64 COMMENT 'Events that are neither in the tables, nor dead, nor pending' CODEC(T64, ZSTD(1)),
    doubled UInt64 COMMENT 'Rows that stand twice, or that no message explains' CODEC(T64, ZSTD(1)),
    altered UInt64 COMMENT 'Rows that are not what their message says' CODEC(T64, ZSTD(1)),
    aged UInt64 COMMENT 'Rows of messages that the stream holds no more; counted by full audits only' CODEC(T64, ZSTD(1)),
    unverified UInt64 COMMENT 'Rows that could not be compared: of messages that are gone and that no audit had seen, or that this version cannot read' CODEC(T64, ZSTD(1)),
    exact Bool COMMENT 'lost, doubled and altered are exact; false: at least so many, there were too many differences to look into each',
    clean Bool COMMENT 'Nothing lost, doubled or altered',
    detail String COMMENT 'The first differences in words',
    error String COMMENT 'Why the audit could not be made; empty: it was made',
    code_version String COMMENT 'Version of hashpivot that made it'
)
ENGINE = MergeTree
ORDER BY (stream, ended)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Audits: what each stream holds, or held, against what its tables have; a row for each stream of each audit. audits_now has the last of each';
