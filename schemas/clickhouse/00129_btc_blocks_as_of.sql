-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS btc_blocks_as_of AS
SELECT
    source,
    height,
    hash,
    last.1 AS event_time,
    last.2 AS recv_time,
    last.3 AS stream_time,
    last.4 AS stream_seq,
    last.5 AS idx,
    last.6 AS rev,
    last.7 AS backfill,
    last.8 AS previous_hash,
    last.9 AS difficulty,
    last.10 AS subsidy_sat,
    last.11 AS fees_sat,
    last.12 AS reward_sat,
    last.13 AS tx_count,
    last.14 AS size_bytes,
    last.15 AS weight_units,
    last.16 AS pool
FROM
(
    SELECT
        source, height, hash,
        argMax(
            (event_time, recv_time, stream_time, stream_seq, idx, rev, backfill, previous_hash, difficulty, subsidy_sat, fees_sat, reward_sat, tx_count, size_bytes, weight_units, pool),
            (rev, stream_time, stream_seq, idx)) AS last
    FROM btc_blocks AS r
    WHERE r.stream_time <= {as_of:DateTime64(9, 'UTC')}
    GROUP BY source, height, hash
)
COMMENT 'btc_blocks, the last report of each block that was known at a moment, orphaned ones included: SELECT ... FROM btc_blocks_as_of(as_of = \'2026-11-20 00:00:00\')';
