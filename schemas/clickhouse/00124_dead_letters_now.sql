-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS dead_letters_now AS
SELECT
    event_time, recv_time, stream_time, stream_seq, idx, source, dead_stream, dead_created_s, dead_seq, dead_idx, subject, reason, detail, payload, payload_bytes,
    if(mark.1 = '', 'dead', mark.1) AS fate, mark.2 AS marked_by, mark.3 AS why, if(mark.1 = '', NULL, mark.4) AS marked_at, mark.5 AS replay_stream, mark.6 AS replay_seq
FROM dead_letters AS d
LEFT JOIN
(
    SELECT
        letter_seq, letter_idx, letter_time,
        argMax((toString(fate), by, why, marked_at, toString(replay_stream), replay_seq), (fate = 'replayed', marked_at)) AS mark
    FROM dead_marks
    GROUP BY letter_seq, letter_idx, letter_time
) AS m ON m.letter_seq = d.stream_seq AND m.letter_idx = d.idx AND m.letter_time = d.stream_time
COMMENT 'dead_letters with what became of each: dead, replayed or discarded';
