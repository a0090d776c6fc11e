-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW offers_open AS
SELECT
    provider,
    gpu,
    offer_id,
    class,
    source,
    last.1 AS event_time,
    last.2 AS recv_time,
    last.3 AS stream_time,
    last.4 AS stream_seq,
    last.5 AS idx,
    last.6 AS rev,
    last.7 AS backfill,
    last.8 AS action,
    last.9 AS host_id,
    last.10 AS machine_id,
    last.11 AS gpu_name,
    last.12 AS gpu_count,
    last.13 AS gpu_memory_mib,
    last.14 AS usd_per_gpu_hour,
    last.15 AS raw_price,
    last.16 AS raw_unit,
    last.17 AS region,
    last.18 AS verified,
    last.19 AS rentable,
    last.20 AS reliability,
    last.21 AS via,
    last.22 AS stock
FROM
(
    SELECT
        provider, gpu, offer_id, class, source,
        argMax(
            (event_time, recv_time, stream_time, stream_seq, idx, rev, backfill, action, host_id, machine_id, gpu_name,
            gpu_count, gpu_memory_mib, usd_per_gpu_hour, raw_price, raw_unit, region, verified, rentable,
            reliability, via, stock),
            (event_time, rev, stream_time, stream_seq, idx)) AS last
    FROM gpu_offers
    GROUP BY provider, gpu, offer_id, class, source
)
WHERE action != 'closed'
COMMENT 'gpu_offers, what is known now of each offer that is open';
