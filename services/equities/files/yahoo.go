package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// chartColumn marks the rows of a chart: they are bars with the cells time, date, symbol, granularity, open, high, low, close, volume.
const chartColumn = "granularity"

// chart is the answer of Yahoo's chart API. Values keep their text; null is a missing one.
type chart struct {
	Chart struct {
		Result []struct {
			Meta struct {
				Currency    string `json:"currency"`
				Symbol      string `json:"symbol"`
				Granularity string `json:"dataGranularity"`
			} `json:"meta"`
			Timestamp  []json.Number `json:"timestamp"`
			Indicators struct {
				Quote []struct {
					Open   []*json.Number `json:"open"`
					High   []*json.Number `json:"high"`
					Low    []*json.Number `json:"low"`
					Close  []*json.Number `json:"close"`
					Volume []*json.Number `json:"volume"`
				} `json:"quote"`
			} `json:"indicators"`
		} `json:"result"`
		Error *struct {
			Code        string `json:"code"`
			Description string `json:"description"`
		} `json:"error"`
	} `json:"chart"`
}

func isChart(text []byte) bool {
	text = bytes.TrimLeft(text[1:], " \t\r\n")
	return bytes.HasPrefix(text, []byte(`"chart"`))
}

// readChart hands a chart's rows over. The adjusted closes are not read: prices are adjusted for splits already, and those for dividends as well.
func readChart(text []byte, s sink) error {
	var c chart
	if err := feed.DecodeJSON(text, &c); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	if e := c.Chart.Error; e != nil {
		return fmt.Errorf("the file is an error of the venue: %.64s: %.128s", e.Code, e.Description)
	}
	if len(c.Chart.Result) == 0 {
		return errNoData
	}
	if err := s.header([]string{chartColumn}); err != nil {
		return err
	}
	line := 0
	for _, r := range c.Chart.Result {
		switch {
		case r.Meta.Currency != "" && r.Meta.Currency != "USD":
			return fmt.Errorf("chart of %.16s: it is in %.8s, only USD is taken", r.Meta.Symbol, r.Meta.Currency)
		case len(r.Indicators.Quote) != 1:
			return fmt.Errorf("chart of %.16s: %d lists of quotes, want 1", r.Meta.Symbol, len(r.Indicators.Quote))
		}
		q := r.Indicators.Quote[0]
		for _, list := range [][]*json.Number{q.Open, q.High, q.Low, q.Close, q.Volume} {
			if len(list) != len(r.Timestamp) {
				return fmt.Errorf("chart of %.16s: the arrays are not of one length", r.Meta.Symbol)
			}
		}
		for i, at := range r.Timestamp {
			line++
			x := row{line: line, cells: map[string]string{
				"symbol": r.Meta.Symbol, chartColumn: r.Meta.Granularity, "time": at.String(), "open": number(q.Open[i]), "high": number(q.High[i]),
				"low": number(q.Low[i]), "close": number(q.Close[i]), "volume": number(q.Volume[i]),
			}}
			if x.raw, x.err = json.Marshal(x.cells); x.err == nil {
				x.err = x.chartDate()
			}
			if err := s.row(x); err != nil {
				return err
			}
		}
	}
	return nil
}

func number(n *json.Number) string {
	if n == nil {
		return ""
	}
	return n.String()
}

// chartDate checks that the time is Unix seconds.
func (x *row) chartDate() error {
	if n, err := strconv.ParseInt(x.cells["time"], 10, 64); err != nil || n < 0 || n > 1e11 {
		return &feed.Malformed{Reason: feed.ReasonType, Err: errors.New("the time is no Unix time in seconds")}
	}
	return nil
}

// chartDay is the New York date of a daily bar's time, which is its session's opening.
func (c *cells) chartDay() {
	n, err := strconv.ParseInt(c.cells["time"], 10, 64)
	if err != nil {
		c.fail(missing("time"))
		return
	}
	c.cells["date"] = c.clock.cal.DateOf(time.Unix(n, 0)).String()
}
