-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW hashprice_now AS
SELECT
    method,
    event_time,
    source,
    height,
    last.1 AS recv_time,
    last.2 AS stream_time,
    last.3 AS stream_seq,
    last.4 AS idx,
    last.5 AS rev,
    last.6 AS backfill,
    last.7 AS difficulty,
    last.8 AS subsidy_sat,
    last.9 AS mean_fees_sat,
    last.10 AS fee_window_blocks,
    last.11 AS btc_usd,
    last.12 AS btc_usd_source,
    last.13 AS btc_usd_age_ms,
    last.14 AS hashprice_btc,
    last.15 AS hashprice_sat,
    last.16 AS hashprice_usd,
    last.17 AS network_ehs,
    last.18 AS inputs,
    last.19 AS published
FROM
(
    SELECT
        method, event_time, source, height,
        argMax(
            (recv_time, stream_time, stream_seq, idx, rev, backfill, difficulty, subsidy_sat, mean_fees_sat,
            fee_window_blocks, btc_usd, btc_usd_source, btc_usd_age_ms, hashprice_btc, hashprice_sat,
            hashprice_usd, network_ehs, inputs, published),
            (rev, stream_time, stream_seq, idx)) AS last
    FROM hashprice
    GROUP BY method, event_time, source, height
)
COMMENT 'hashprice, the last revision of each';
