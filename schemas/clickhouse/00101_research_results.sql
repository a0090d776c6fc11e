-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS research_results
(
    trade_date Date COMMENT 'Trade date that the figure is of',
    as_of DateTime64(9, 'UTC') COMMENT 'The notebook saw what had a stream_time up to it',
    notebook LowCardinality(String) COMMENT 'Notebook that told the figure',
    name LowCardinality(String) COMMENT 'Name of the figure within its notebook',
    value Nullable(Float64) COMMENT 'Value of a number; NULL: no number, or none could be had and note says why',
    text String COMMENT 'Value as the notebook wrote it: the number in full, or a text; empty: NULL',
    unit LowCardinality(String) COMMENT 'Unit of value',
    note String COMMENT 'What must be known about it, or why there is no value',
    mark LowCardinality(String) COMMENT 'sim- of generated data, rec- of replayed recordings, empty of live data',
    complete Bool COMMENT 'The trade date was complete when the run began',
    missing Array(String) COMMENT 'What was missing, in words, where it was not complete',
    run_id LowCardinality(String) COMMENT 'Name of the run; research_runs has it',
    run_at DateTime64(9, 'UTC') COMMENT 'When the run began, UTC',
    code_version LowCardinality(String) COMMENT 'Version of hashpivot that ran it'
)
ENGINE = MergeTree
ORDER BY (notebook, name, trade_date, as_of, run_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Key figures of the research notebooks, of every run, once a run and notebook; research_results_now has the last of each trade date';
