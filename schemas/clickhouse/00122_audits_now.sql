-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS audits_now AS
SELECT
    stream,
    kind,
    last.1 AS ended,
    last.2 AS clean,
    last.3 AS lost,
    last.4 AS doubled,
    last.5 AS altered,
    last.6 AS unverified,
    last.7 AS exact,
    last.8 AS first_seq,
    last.9 AS last_seq,
    last.10 AS settled_seq,
    last.11 AS life,
    last.12 AS error,
    last.13 AS detail,
    last.14 AS audit_id,
    last.15 AS by
FROM
(
    SELECT
        stream, kind,
        argMax(
            (ended, clean, lost, doubled, altered, unverified, exact, first_seq, last_seq, settled_seq, life, error, detail, audit_id, by),
            (ended, audit_id)) AS last
    FROM audits
    GROUP BY stream, kind
)
COMMENT 'audits, the last of each kind and stream';
