-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS signals_as_of AS
SELECT
    source,
    name,
    symbol,
    event_time,
    last.1 AS recv_time,
    last.2 AS stream_time,
    last.3 AS stream_seq,
    last.4 AS idx,
    last.5 AS rev,
    last.6 AS backfill,
    last.7 AS value,
    last.8 AS unit,
    last.9 AS inputs
FROM
(
    SELECT
        source, name, symbol, event_time,
        argMax(
            (recv_time, stream_time, stream_seq, idx, rev, backfill, value, unit, inputs),
            (rev, stream_time, stream_seq, idx)) AS last
    FROM signals AS r
    WHERE r.stream_time <= {as_of:DateTime64(9, 'UTC')}
    GROUP BY source, name, symbol, event_time
)
COMMENT 'signals, the last revision of each that was known at a moment: SELECT ... FROM signals_as_of(as_of = \'2026-11-20 00:00:00\')';
