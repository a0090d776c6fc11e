-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW research_results_now AS
SELECT
    trade_date,
    notebook,
    name,
    last.1 AS as_of,
    last.2 AS value,
    last.3 AS text,
    last.4 AS unit,
    last.5 AS note,
    last.6 AS mark,
    last.7 AS complete,
    last.8 AS missing,
    last.9 AS run_id,
    last.10 AS run_at,
    last.11 AS code_version
FROM
(
    SELECT
        trade_date, notebook, name,
        argMax((as_of, value, text, unit, note, mark, complete, missing, run_id, run_at, code_version), (run_at, run_id)) AS last
    FROM research_results
    GROUP BY trade_date, notebook, name
)
COMMENT 'research_results, of each trade date the figure that was run last';
