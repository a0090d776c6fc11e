-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW feed_gaps_now AS
SELECT
    source,
    gap_id,
    last.1 AS event_time,
    last.2 AS recv_time,
    last.3 AS stream_time,
    last.4 AS stream_seq,
    last.5 AS idx,
    last.6 AS rev,
    last.7 AS backfill,
    last.8 AS symbol,
    last.9 AS from_time,
    last.10 AS to_time,
    last.11 AS reason,
    last.12 AS state,
    last.13 AS recovered
FROM
(
    SELECT
        source, gap_id,
        argMax(
            (event_time, recv_time, stream_time, stream_seq, idx, rev, backfill, symbol, from_time, to_time, reason, state,
            recovered),
            (rev, stream_time, stream_seq, idx)) AS last
    FROM feed_gaps
    GROUP BY source, gap_id
)
COMMENT 'feed_gaps, the last state of each gap';
