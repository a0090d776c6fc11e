package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// The data sources, by the uids that deploy/grafana/provisioning gives them.
var (
	metrics    = common.DataSourceRef{Type: new("prometheus"), Uid: new("prometheus")}
	clickhouse = common.DataSourceRef{Type: new("grafana-clickhouse-datasource"), Uid: new("clickhouse")}
)

// query is a PromQL expression and how its series are named.
type query struct{ expr, legend string }

func (q query) over(instant bool) *prometheus.DataqueryBuilder {
	b := prometheus.NewDataqueryBuilder().Datasource(metrics).Expr(q.expr).LegendFormat(q.legend)
	if instant {
		return b.Instant()
	}
	return b.Range()
}

// refs names the queries of a panel.
const refs = "ABCDEFGH"

// lines is a panel of series over time.
func lines(title, what, unit string, queries ...query) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Description(what).Datasource(metrics).Unit(unit).Span(8).Height(8).FillOpacity(8).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeTable).Placement(common.LegendPlacementBottom).Calcs([]string{"lastNotNull", "max"})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for i, q := range queries {
		p.WithTarget(q.over(false).RefId(refs[i : i+1]))
	}
	return p
}

// steps colours a figure: green up to the first bound, then orange, from the second on red. Falling ones are red below the first and green from the second on.
func steps(warn, bad float64) *dashboard.ThresholdsConfigBuilder {
	colours := []string{"green", "orange", "red"}
	if bad < warn {
		colours = []string{"red", "orange", "green"}
		warn, bad = bad, warn
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps([]dashboard.Threshold{
		{Color: colours[0]}, {Value: &warn, Color: colours[1]}, {Value: &bad, Color: colours[2]},
	})
}

// figure is a panel of one number.
func figure(title, what, unit string, warn, bad float64, q query) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Description(what).Datasource(metrics).Unit(unit).Span(3).Height(4).GraphMode(common.BigValueGraphModeArea).
		ColorMode(common.BigValueColorModeValue).Thresholds(steps(warn, bad)).ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		WithTarget(q.over(false).RefId("A"))
}

// noFooter of a table; its schema wants one.
func noFooter() *common.TableFooterOptionsBuilder {
	return common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{})
}

// rows is a panel of what is true now, a line each.
func rows(title, what string, q query) *table.PanelBuilder {
	return table.NewPanelBuilder().Title(title).Description(what).Datasource(metrics).Span(12).Height(8).Footer(noFooter()).
		WithTarget(q.over(true).Format(prometheus.PromQueryFormatTable).RefId("A"))
}

// sql is a query of the ClickHouse data source. Macros of its plugin: $__timeFilter(column), $__fromTime, $__toTime.
type sql struct {
	Datasource common.DataSourceRef `json:"datasource"`
	RefID      string               `json:"refId"`
	EditorType string               `json:"editorType"`
	RawSQL     string               `json:"rawSql"`
	Format     int                  `json:"format"`
	QueryType  string               `json:"queryType"`
}

// ImplementsDataqueryVariant implements variants.Dataquery.
func (sql) ImplementsDataqueryVariant() {}

// Equals implements variants.Dataquery.
func (s sql) Equals(other variants.Dataquery) bool { o, ok := other.(sql); return ok && o == s }

// DataqueryType implements variants.Dataquery.
func (sql) DataqueryType() string { return *clickhouse.Type }

// Validate implements variants.Dataquery.
func (sql) Validate() error { return nil }

// Build implements cog.Builder.
func (s sql) Build() (variants.Dataquery, error) { return s, nil }

// sqlRows is a table that ClickHouse answers.
func sqlRows(title, what, text string) *table.PanelBuilder {
	return table.NewPanelBuilder().Title(title).Description(what).Datasource(clickhouse).Span(24).Height(9).Footer(noFooter()).
		WithTarget(sql{Datasource: clickhouse, RefID: "A", EditorType: "sql", RawSQL: text, Format: 1, QueryType: "table"})
}

// sqlLines are series that ClickHouse answers.
func sqlLines(title, what, unit, text string) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().Title(title).Description(what).Datasource(clickhouse).Unit(unit).Span(12).Height(9).FillOpacity(8).
		WithTarget(sql{Datasource: clickhouse, RefID: "A", EditorType: "sql", RawSQL: text, Format: 0, QueryType: "timeseries"})
}

// board begins a dashboard.
func board(name, title, what string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder("hashpivot: "+title).Uid("hashpivot-"+name).Description(what).Tags([]string{"hashpivot"}).Readonly().
		Refresh("30s").Time("now-3h", "now").Timezone("utc").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("hashpivot").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"hashpivot"}).AsDropdown(true).KeepTime(true))
}

// row is a heading with its panels.
func row(b *dashboard.DashboardBuilder, title string, panels ...cog.Builder[dashboard.Panel]) {
	b.WithRow(dashboard.NewRowBuilder(title))
	for _, p := range panels {
		b.WithPanel(p)
	}
}

// rate is the rise a second of a counter, by labels.
func rate(metric, by string) string {
	return "sum by (" + by + ") (rate(" + metric + "[$__rate_interval]))"
}

// quantile of a histogram, by labels; empty: of all.
func quantile(q, metric, by string) string {
	if by != "" {
		by += ", "
	}
	return "histogram_quantile(" + q + ", sum by (" + by + "le) (rate(" + metric + "_bucket[$__rate_interval])))"
}
