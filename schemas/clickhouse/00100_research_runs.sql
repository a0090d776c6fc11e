-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS research_runs
(
    trade_date Date COMMENT 'Trade date that the notebooks were run for',
    as_of DateTime64(9, 'UTC') COMMENT 'The notebooks saw what had a stream_time up to it; the same for all notebooks of a run',
    run_id LowCardinality(String) COMMENT 'Name of the run',
    notebook LowCardinality(String) COMMENT 'Notebook; empty: the run as a whole',
    attempt UInt16 COMMENT 'Try of the notebook, from 1; 0 of the run as a whole',
    state LowCardinality(String) COMMENT 'Of a notebook: running, then ok, failed, timeout, quota, refused (what it wrote is not as agreed) or stopped (with the service; it is run again). Of the run: started, then ended',
    mark LowCardinality(String) COMMENT 'sim- of generated data, rec- of replayed recordings, empty of live data',
    started DateTime64(9, 'UTC') COMMENT 'When the try, or the run, began, UTC',
    ended Nullable(DateTime64(9, 'UTC')) COMMENT 'When it ended, UTC; NULL: the row tells the beginning',
    complete Bool COMMENT 'The trade date was complete when the run began',
    missing Array(String) COMMENT 'What was missing, in words, where it was not complete',
    notes Array(String) COMMENT 'What is absent or given up and does not hinder',
    figures UInt32 COMMENT 'Key figures that the notebook, or the run, told',
    differing Array(String) COMMENT 'Figures that differ from those stored for the same trade date and as_of, as notebook/name: was, is',
    error String COMMENT 'Why it failed; empty: it did not',
    error_cell String COMMENT 'Number of the cell that failed; empty: not in a cell',
    error_source String COMMENT 'Source of the cell that failed',
    traceback String COMMENT 'Traceback of the failure',
    data_state String COMMENT 'State of the data as the notebook told it when it failed, JSON',
    by LowCardinality(String) COMMENT 'service: because the trade date was complete or patience had ended; command: somebody asked',
    directory String COMMENT 'Where the output lies, within the directory of research',
    code_version String COMMENT 'Version of hashpivot that ran it',
    recorded_at DateTime64(9, 'UTC') COMMENT 'When the row was written, UTC'
)
ENGINE = MergeTree
ORDER BY (trade_date, run_id, notebook, attempt, recorded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Runs of the research notebooks: two rows a run, two each try of a notebook; research_runs_now has the last state of each';
