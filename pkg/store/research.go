package store

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// ResearchRun is a row of research_runs: the begin or the end of a run, or one try of a notebook in it. The table's comments say what each field is.
type ResearchRun struct {
	TradeDate   time.Time // UTC midnight of the date
	AsOf        time.Time
	RunID       string
	Notebook    string // empty: the run as a whole
	Attempt     uint16
	State       string
	Mark        string
	Started     time.Time
	Ended       time.Time // zero: the row tells the beginning
	Complete    bool
	Missing     []string
	Notes       []string
	Figures     uint32
	Differing   []string
	Error       string
	ErrorCell   string
	ErrorSource string
	Traceback   string
	DataState   string
	By          string
	Directory   string
	CodeVersion string
}

// ResearchResult is a row of research_results: a key figure that a notebook told.
type ResearchResult struct {
	TradeDate   time.Time // UTC midnight of the date
	AsOf        time.Time
	Notebook    string
	Name        string
	Value       *float64 // nil: no number
	Text        string
	Unit        string
	Note        string
	Mark        string
	Complete    bool
	Missing     []string
	RunID       string
	RunAt       time.Time
	CodeVersion string
}

// AddResearchRun writes the row once: the same run, notebook, try and state again add nothing.
func (s *Store) AddResearchRun(ctx context.Context, r ResearchRun) error {
	var ended *time.Time
	if !r.Ended.IsZero() {
		ended = &r.Ended
	}
	token := fmt.Sprintf("research-run:%s:%s:%d:%s", r.RunID, r.Notebook, r.Attempt, r.State)
	err := s.addRows(ctx, token, "INSERT INTO research_runs (trade_date, as_of, run_id, notebook, attempt, state, mark, started, ended, complete, missing, notes, figures, differing, "+
		"error, error_cell, error_source, traceback, data_state, by, directory, code_version, recorded_at)", [][]any{{
		r.TradeDate, r.AsOf, r.RunID, r.Notebook, r.Attempt, r.State, r.Mark, r.Started, ended, r.Complete, texts(r.Missing), texts(r.Notes), r.Figures, texts(r.Differing),
		r.Error, r.ErrorCell, r.ErrorSource, r.Traceback, r.DataState, r.By, r.Directory, r.CodeVersion, time.Now().UTC(),
	}})
	if err != nil {
		return fmt.Errorf("record run %s %s: %w", r.RunID, r.Notebook, err)
	}
	return nil
}

// AddResearchResults writes the figures of one notebook of one run, once: figures of the same run and notebook again add nothing, whatever they are.
func (s *Store) AddResearchResults(ctx context.Context, figures []ResearchResult) error {
	if len(figures) == 0 {
		return nil
	}
	run, notebook := figures[0].RunID, figures[0].Notebook
	rows := make([][]any, len(figures))
	for i, f := range figures {
		if f.RunID != run || f.Notebook != notebook {
			return fmt.Errorf("add results of run %s: figure %s/%s of run %s is not of notebook %s: one call takes one notebook of one run", run, f.Notebook, f.Name, f.RunID, notebook)
		}
		rows[i] = []any{
			f.TradeDate, f.AsOf, f.Notebook, f.Name, f.Value, f.Text, f.Unit, f.Note, f.Mark, f.Complete, texts(f.Missing), f.RunID, f.RunAt, f.CodeVersion,
		}
	}
	err := s.addRows(ctx, "research:"+run+":"+notebook,
		"INSERT INTO research_results (trade_date, as_of, notebook, name, value, text, unit, note, mark, complete, missing, run_id, run_at, code_version)", rows)
	if err != nil {
		return fmt.Errorf("add %d results of run %s, notebook %s: %w", len(figures), run, notebook, err)
	}
	return nil
}

// addRows inserts rows as one block under the token.
func (s *Store) addRows(ctx context.Context, token, statement string, rows [][]any) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(insertSettings(token)))
	batch, err := s.conn.PrepareBatch(ctx, statement)
	if err != nil {
		return fmt.Errorf("begin insert: %w", err)
	}
	defer func() { _ = batch.Abort() }()
	for _, row := range rows {
		if err := batch.Append(row...); err != nil {
			return fmt.Errorf("fill insert: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("send block: %w", err)
	}
	return nil
}

// texts is never nil, which the client would refuse.
func texts(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
