-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW gpu_rates_now AS
SELECT
    gpu,
    class,
    event_time,
    method,
    version,
    source,
    last.1 AS recv_time,
    last.2 AS stream_time,
    last.3 AS stream_seq,
    last.4 AS idx,
    last.5 AS rev,
    last.6 AS backfill,
    last.7 AS usd_per_gpu_hour,
    last.8 AS p10_usd_per_gpu_hour,
    last.9 AS p90_usd_per_gpu_hour,
    last.10 AS dispersion,
    last.11 AS sample_offers,
    last.12 AS sample_gpus,
    last.13 AS sample_hosts,
    last.14 AS sample_providers,
    last.15 AS constituent_providers,
    last.16 AS constituent_usd_per_gpu_hour,
    last.17 AS constituent_gpus,
    last.18 AS constituent_offers
FROM
(
    SELECT
        gpu, class, event_time, method, version, source,
        argMax(
            (recv_time, stream_time, stream_seq, idx, rev, backfill, usd_per_gpu_hour, p10_usd_per_gpu_hour,
            p90_usd_per_gpu_hour, dispersion, sample_offers, sample_gpus, sample_hosts, sample_providers, constituent_providers, constituent_usd_per_gpu_hour, constituent_gpus, constituent_offers),
            (rev, stream_time, stream_seq, idx)) AS last
    FROM gpu_rates
    GROUP BY gpu, class, event_time, method, version, source
)
COMMENT 'gpu_rates, the last revision of each';
