-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW research_runs_now AS
SELECT
    run_id,
    notebook,
    last.1 AS trade_date,
    last.2 AS as_of,
    last.3 AS attempt,
    last.4 AS state,
    last.5 AS mark,
    last.6 AS started,
    last.7 AS ended,
    last.8 AS complete,
    last.9 AS missing,
    last.10 AS notes,
    last.11 AS figures,
    last.12 AS differing,
    last.13 AS error,
    last.14 AS error_cell,
    last.15 AS error_source,
    last.16 AS traceback,
    last.17 AS data_state,
    last.18 AS by,
    last.19 AS directory,
    last.20 AS code_version,
    last.21 AS recorded_at
FROM
(
    SELECT
        run_id, notebook,
        argMax(
            (trade_date, as_of, attempt, state, mark, started, ended, complete, missing, notes, figures, differing, error,
            error_cell, error_source, traceback, data_state, by, directory, code_version, recorded_at),
            (recorded_at, attempt)) AS last
    FROM research_runs
    GROUP BY run_id, notebook
)
COMMENT 'research_runs, the last state of each run (notebook empty) and of each notebook in it';
