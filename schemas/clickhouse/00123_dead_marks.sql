-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS dead_marks
(
    letter_seq UInt64 COMMENT 'stream_seq of the dead letter in dead_letters',
    letter_idx UInt32 COMMENT 'Its idx',
    letter_time DateTime64(9, 'UTC') COMMENT 'Its stream_time, which tells the lives of the stream DEAD apart',
    fate LowCardinality(String) COMMENT 'replayed: its bytes were published again. discarded: somebody decided that it stays dead',
    by String COMMENT 'Who said so',
    why String COMMENT 'Why, in the words of who discarded it',
    marked_at DateTime64(9, 'UTC') COMMENT 'When, UTC',
    replay_stream LowCardinality(String) COMMENT 'Stream that it was published into again; empty: discarded',
    replay_seq UInt64 COMMENT 'Its sequence there; 0: discarded',
    replay_events UInt32 COMMENT 'Events that were published again; 0: discarded'
)
ENGINE = MergeTree
ORDER BY (letter_time, letter_seq, letter_idx, marked_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What became of dead letters. The letters themselves stay where they are: the balance of their messages does not change';
