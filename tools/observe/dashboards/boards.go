package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// boards are the dashboards by their files' names.
func boards() map[string]*dashboard.DashboardBuilder {
	return map[string]*dashboard.DashboardBuilder{"overview": overview(), "feeds": feeds(), "landing": landing(), "live": live(), "research": research()}
}

func overview() *dashboard.DashboardBuilder {
	b := board("overview", "overview", "Does data move, from the venues to the tables and the clients?")
	row(b, "Now",
		figure("Processes up", "Services that answer at their metrics.", "none", 1, 0.5, query{`sum(up{job="hashpivot"})`, ""}),
		figure("Not ready", "Processes whose /readyz is not 200.", "none", 1, 2, query{`count(hashpivot_health_ready == 0) or vector(0)`, ""}),
		figure("Alerts", "Alerts that fire, the watchdog aside.", "none", 1, 3, query{`count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)`, ""}),
		figure("Published", "Events a second that JetStream has stored.", "short", 1e9, 2e9, query{`sum(rate(hashpivot_publisher_events_total[$__rate_interval]))`, ""}),
		figure("Landed", "Rows a second in ClickHouse.", "short", 1e9, 2e9, query{`sum(rate(hashpivot_lander_rows_total[$__rate_interval]))`, ""}),
		figure("Waits to land", "Age of the oldest message that has not landed.", "s", 10, 60, query{`max(hashpivot_lander_lag_seconds)`, ""}),
		figure("Audit", "1: the last audit of each stream was clean.", "none", 1, 0.5, query{`min(hashpivot_audit_clean)`, ""}),
		figure("Clients", "Connections to the gateways.", "none", 1e6, 2e6, query{`sum(hashpivot_gateway_clients)`, ""}),
	)
	row(b, "The way of the data",
		lines("Published", "Events stored by JetStream, by stream.", "ops", query{rate("hashpivot_publisher_events_total", "stream"), "{{stream}}"}),
		lines("Landed", "Rows in ClickHouse, by stream.", "ops", query{rate("hashpivot_lander_rows_total", "stream"), "{{stream}}"}),
		lines("Delivered", "Messages handed to clients, and those that slow clients missed.", "ops", query{`sum(rate(hashpivot_gateway_deliveries_total[$__rate_interval]))`, "delivered"},
			query{`sum(rate(hashpivot_gateway_skipped_total[$__rate_interval]))`, "skipped"}),
		lines("Publish latency", "From handed over to stored.", "s", query{quantile("0.5", "hashpivot_publisher_latency_seconds", ""), "p50"}, query{quantile("0.99", "hashpivot_publisher_latency_seconds", ""), "p99"}),
		lines("Landing latency", "From stored to queryable.", "s", query{quantile("0.5", "hashpivot_lander_latency_seconds", ""), "p50"}, query{quantile("0.99", "hashpivot_lander_latency_seconds", ""), "p99"}),
		lines("Live latency", "From stored to handed to clients.", "s", query{quantile("0.5", "hashpivot_gateway_latency_seconds", ""), "p50"}, query{quantile("0.99", "hashpivot_gateway_latency_seconds", ""), "p99"}),
	)
	row(b, "Processes",
		rows("Checks that fail", "What /readyz says of each; no row: all stand.", query{`hashpivot_health_check == 0`, ""}),
		rows("Programs", "What runs, of which version, on which kind of data.", query{`hashpivot_build_info`, ""}),
		lines("Memory", "Resident, by process.", "bytes", query{`process_resident_memory_bytes{job="hashpivot"}`, "{{service}} {{instance}}"}),
		lines("Processor", "Cores in use, by process.", "none", query{`rate(process_cpu_seconds_total{job="hashpivot"}[$__rate_interval])`, "{{service}} {{instance}}"}),
		lines("Goroutines", "By process; a steady rise is a leak.", "none", query{`go_goroutines{job="hashpivot"}`, "{{service}} {{instance}}"}),
	)
	return b
}

func feeds() *dashboard.DashboardBuilder {
	b := board("feeds", "feeds", "What the venues tell, how late, what they owe, and how it gets into JetStream.")
	row(b, "Signs of life",
		lines("Silence", "Age of the upstream's last sign of life; dashed by what is allowed now (0: nothing is due).", "s",
			query{`time() - (hashpivot_feed_last_alive_timestamp_seconds > 0)`, "{{source}}"}, query{`hashpivot_feed_allowed_silence_seconds`, "{{source}} allowed"}),
		lines("Connected", "1 while the upstream has accepted us.", "none", query{`hashpivot_feed_connected`, "{{source}}"}),
		lines("Losses", "Changes of state to lost, stale or refused, an hour.", "none", query{`sum by (source, state) (increase(hashpivot_feed_states_total{state=~"lost|stale|refused"}[1h]))`, "{{source}} {{state}}"}),
	)
	row(b, "What comes",
		lines("Frames", "Websocket messages and HTTP answers.", "ops", query{rate("hashpivot_feed_frames_total", "source"), "{{source}}"}),
		lines("Bytes", "Decompressed.", "Bps", query{rate("hashpivot_feed_received_bytes_total", "source"), "{{source}}"}),
		lines("Events", "Published, by source and stream.", "ops", query{rate("hashpivot_feed_events_total", "source, stream"), "{{source}} {{stream}}"}),
		lines("Delay", "Receive time less event time, 50th and 99th percentile.", "s", query{quantile("0.5", "hashpivot_feed_delay_seconds", "source"), "{{source}} p50"},
			query{quantile("0.99", "hashpivot_feed_delay_seconds", "source"), "{{source}} p99"}),
		lines("Refused", "Frames and events, by reason.", "ops", query{rate("hashpivot_feed_rejects_total", "source, reason"), "{{source}} {{reason}}"}, query{rate("hashpivot_feed_rejects_unkept_total", "source, reason"), "{{source}} {{reason}}, not kept"}),
		lines("Told again", "Duplicates dropped, and messages that nobody wants.", "ops", query{rate("hashpivot_feed_duplicates_total", "source"), "{{source}} duplicates"}, query{rate("hashpivot_feed_ignored_total", "source, type"), "{{source}} {{type}}"}),
	)
	row(b, "Gaps",
		lines("Open gaps", "Lines of the ledger that are not settled.", "none", query{`hashpivot_feed_open_gaps`, "{{source}}"}),
		lines("Ledger", "Lines opened and settled, an hour.", "none", query{`sum by (source, state) (increase(hashpivot_feed_gap_changes_total[1h]))`, "{{source}} {{state}}"}),
		lines("Age of the newest event", "By source and stream.", "s", query{`time() - hashpivot_feed_last_event_timestamp_seconds`, "{{source}} {{stream}}"}),
	)
	row(b, "Into JetStream",
		lines("Publish latency", "By stream, 99th percentile.", "s", query{quantile("0.99", "hashpivot_publisher_latency_seconds", "stream"), "{{stream}}"}),
		lines("Queue", "Events that wait or are on their way; the bound of a publisher is 131,072.", "none", query{`hashpivot_publisher_queued_events`, "{{service}} {{instance}}"}),
		lines("Sent again", "By cause.", "ops", query{rate("hashpivot_publisher_retries_total", "stream, cause"), "{{stream}} {{cause}}"}),
		lines("Batches", "Events a message: batching clocks itself.", "none", query{`sum by (stream) (rate(hashpivot_publisher_events_total[$__rate_interval])) / sum by (stream) (rate(hashpivot_publisher_messages_total[$__rate_interval]))`, "{{stream}}"}),
		lines("Bytes", "Of messages stored.", "Bps", query{rate("hashpivot_publisher_bytes_total", "stream"), "{{stream}}"}),
		lines("Leases", "1: this process is the active one.", "none", query{`hashpivot_lease_held`, "{{lease}} {{instance}}"}),
		lines("Not stored", "Events that were not stored before their publisher ended; the feed finds them again.", "none", query{`sum by (stream) (increase(hashpivot_publisher_abandoned_events_total[1h]))`, "{{stream}}"}),
		lines("NATS", "Connections up, and losses an hour.", "none", query{`hashpivot_nats_connected`, "{{service}} {{instance}}"}, query{`increase(hashpivot_nats_disconnects_total[1h])`, "{{service}} {{instance}} lost"}),
	)
	return b
}

func landing() *dashboard.DashboardBuilder {
	b := board("landing", "landing", "From JetStream into ClickHouse, exactly once; and the proof of it.")
	row(b, "Behind",
		lines("Lag, seconds", "Age of the oldest message that has not landed.", "s", query{`max by (stream) (hashpivot_lander_lag_seconds)`, "{{stream}}"}),
		lines("Lag, messages", "Sequences behind what has landed.", "none", query{`max by (stream) (hashpivot_lander_lag_messages)`, "{{stream}}"}),
		lines("Lag, events", "An estimate: messages times the events a message lately.", "none", query{`max by (stream) (hashpivot_lander_lag_events)`, "{{stream}}"}),
	)
	row(b, "Landing",
		lines("Rows", "By stream.", "ops", query{rate("hashpivot_lander_rows_total", "stream"), "{{stream}}"}),
		lines("Ranges", "Inserts, by stream.", "ops", query{rate("hashpivot_lander_ranges_total", "stream"), "{{stream}}"}),
		lines("Time of a range", "Written down, inserted, synced; 50th and 99th percentile.", "s", query{quantile("0.5", "hashpivot_lander_range_seconds", ""), "p50"}, query{quantile("0.99", "hashpivot_lander_range_seconds", "stream"), "{{stream}} p99"}),
		lines("Latency", "From stored to queryable, 99th percentile.", "s", query{quantile("0.99", "hashpivot_lander_latency_seconds", "stream"), "{{stream}}"}),
		lines("Tried again", "By step and cause.", "ops", query{rate("hashpivot_lander_retries_total", "stream, step, cause"), "{{stream}} {{step}}: {{cause}}"}),
		lines("Landers", "Units by process, and times that one was taken over, an hour.", "none", query{`hashpivot_lander_units`, "{{instance}}"}, query{`sum by (stream) (increase(hashpivot_lander_fenced_total[1h]))`, "{{stream}} taken over"}),
	)
	row(b, "What does not land",
		lines("Dead letters", "An hour, by stream and reason.", "none", query{`sum by (stream, reason) (increase(hashpivot_lander_dead_letters_total[1h]))`, "{{stream}} {{reason}}"}),
		lines("Lost before they landed", "Sequences, an hour. Any is an alarm.", "none", query{`sum by (stream) (increase(hashpivot_lander_lost_sequences_total[1h]))`, "{{stream}}"}),
		lines("Stands still", "1: stream, record and database do not belong together.", "none", query{`max by (stream) (hashpivot_lander_refused)`, "{{stream}}"}),
	)
	row(b, "Streams",
		lines("Filled", "Bytes held over bytes allowed; a full stream refuses.", "percentunit", query{`max by (stream) (hashpivot_stream_bytes / hashpivot_stream_max_bytes)`, "{{stream}}"}),
		lines("Bytes", "Held.", "bytes", query{`max by (stream) (hashpivot_stream_bytes)`, "{{stream}}"}),
		lines("Last message", "Its age.", "s", query{`time() - max by (stream) (hashpivot_stream_last_timestamp_seconds)`, "{{stream}}"}),
		lines("Sequences", "The last stored, and up to where it has landed.", "none", query{`max by (stream) (hashpivot_stream_last_sequence)`, "{{stream}} stored"}, query{`max by (stream) (hashpivot_lander_landed_sequence)`, "{{stream}} landed"}),
	)
	row(b, "Audit",
		lines("Clean", "1: nothing lost, doubled or altered.", "none", query{`min by (stream, kind) (hashpivot_audit_clean)`, "{{stream}} {{kind}}"}),
		lines("Found", "In the last audit.", "none", query{`sum by (stream) (hashpivot_audit_lost_events)`, "{{stream}} lost"}, query{`sum by (stream) (hashpivot_audit_doubled_rows)`, "{{stream}} doubled"},
			query{`sum by (stream) (hashpivot_audit_altered_rows)`, "{{stream}} altered"}, query{`sum by (stream) (hashpivot_audit_unverified_rows)`, "{{stream}} unverified"}),
		lines("Age", "Of the last audit of any stream, by kind.", "s", query{`time() - max by (kind) (hashpivot_audit_last_timestamp_seconds)`, "{{kind}}"}),
		lines("Duration", "Mean of an audit of all streams; and those that could not be made, an hour.", "s",
			query{`sum by (kind) (rate(hashpivot_audit_duration_seconds_sum[6h])) / sum by (kind) (rate(hashpivot_audit_duration_seconds_count[6h]))`, "{{kind}}"}, query{`sum(increase(hashpivot_audit_failed_total[1h]))`, "failed"}),
	)
	return b
}

func live() *dashboard.DashboardBuilder {
	b := board("live", "live", "The gateways and their clients.")
	row(b, "Clients",
		lines("Connections", "By gateway.", "none", query{`hashpivot_gateway_clients`, "{{instance}}"}),
		lines("Subscriptions", "By gateway.", "none", query{`hashpivot_gateway_subscriptions`, "{{instance}}"}),
		lines("Closed", "By close code, an hour.", "none", query{`sum by (code) (increase(hashpivot_gateway_closed_total[1h]))`, "{{code}}"}),
		lines("Turned away", "By reason.", "ops", query{rate("hashpivot_gateway_refused_total", "reason"), "{{reason}}"}),
		lines("Limited", "By whose limit and of what.", "ops", query{rate("hashpivot_gateway_limited_total", "whose, what"), "{{whose}} {{what}}"}),
		lines("Errors told", "By code.", "ops", query{rate("hashpivot_gateway_errors_total", "code"), "{{code}}"}),
	)
	row(b, "Delivery",
		lines("Delivered", "Messages handed to clients, by gateway.", "ops", query{rate("hashpivot_gateway_deliveries_total", "instance"), "{{instance}}"}),
		lines("Skipped", "Messages that slow clients were told they missed.", "ops", query{rate("hashpivot_gateway_skipped_total", "instance"), "{{instance}}"}),
		lines("Bytes", "Written to clients.", "Bps", query{rate("hashpivot_gateway_sent_bytes_total", "instance"), "{{instance}}"}),
		lines("Latency", "From stored to handed out, 50th and 99th percentile.", "s", query{quantile("0.5", "hashpivot_gateway_latency_seconds", "stream"), "{{stream}} p50"}, query{quantile("0.99", "hashpivot_gateway_latency_seconds", "stream"), "{{stream}} p99"}),
		lines("Behind", "Messages stored behind the one handed out last.", "none", query{`max by (stream, instance) (hashpivot_gateway_lag_messages)`, "{{stream}} {{instance}}"}),
		lines("Fan-out", "Messages to topics, and to clients from each.", "none", query{rate("hashpivot_gateway_dispatched_total", "instance"), "{{instance}} to topics"},
			query{`sum by (instance) (rate(hashpivot_gateway_deliveries_total[$__rate_interval])) / sum by (instance) (rate(hashpivot_gateway_dispatched_total[$__rate_interval]))`, "{{instance}} clients a message"}),
		lines("Not understood", "Messages of the streams that were left out, an hour.", "none", query{`sum(increase(hashpivot_gateway_undecoded_total[1h]))`, "left out"}),
	)
	return b
}

func research() *dashboard.DashboardBuilder {
	b := board("research", "research", "Bars, the pivot and the notebooks: what is made of the data.")
	b.WithVariable(dashboard.NewCustomVariableBuilder("database").Label("database").Values(dashboard.StringOrMap{String: new("hashpivot,hashpivot_sim,hashpivot_recorded")}).
		Current(dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{String: new("hashpivot")}, Value: dashboard.StringOrArrayOfString{String: new("hashpivot")}}))
	row(b, "Notebooks",
		lines("Runs", "A day, by how they ended.", "none", query{`sum by (state) (increase(hashpivot_nightly_runs_total[1d]))`, "{{state}}"}),
		lines("Tries", "Of notebooks, a day.", "none", query{`sum by (notebook, state) (increase(hashpivot_nightly_notebooks_total[1d]))`, "{{notebook}} {{state}}"}),
		lines("Time of a try", "Mean, by notebook.", "s", query{`sum by (notebook) (rate(hashpivot_nightly_notebook_duration_seconds_sum[1d])) / sum by (notebook) (rate(hashpivot_nightly_notebook_duration_seconds_count[1d]))`, "{{notebook}}"}),
		lines("Since the last trade date", "That was run, and that was run complete.", "s", query{`time() - max(hashpivot_nightly_last_date_timestamp_seconds > 0)`, "run"}, query{`time() - max(hashpivot_nightly_last_complete_date_timestamp_seconds > 0)`, "run complete"}),
		lines("What hinders", "Checks that the oldest waiting date does not meet; figures that differ.", "none", query{`max(hashpivot_nightly_unmet_checks)`, "unmet checks"}, query{`max(hashpivot_nightly_differing_figures)`, "differing figures"}),
		lines("Notices", "To the webhook, an hour; and when the dates were last looked at.", "none", query{`sum by (result) (increase(hashpivot_nightly_webhooks_total[1h]))`, "{{result}}"}, query{`(time() - max(hashpivot_nightly_last_check_timestamp_seconds > 0)) / 60`, "minutes since the last look"}),
		sqlRows("Last runs", "From research_runs_now.", "SELECT trade_date, run_id, by, state, complete, as_of, started, ended, figures, length(differing) AS differing, error FROM ${database}.research_runs_now WHERE notebook = '' ORDER BY started DESC LIMIT 20"),
	)
	row(b, "Signals",
		lines("Prints read", "By source.", "ops", query{rate("hashpivot_signals_prints_total", "source"), "{{source}}"}),
		lines("Bars", "Told for the first time, and revised.", "ops", query{rate("hashpivot_signals_bars_total", "interval, telling"), "{{interval}} {{telling}}"}),
		lines("Held against the venue's own", "Bars that are equal and that differ.", "ops", query{rate("hashpivot_signals_comparisons_total", "source, result"), "{{source}} {{result}}"}),
		lines("Pivot", "Values told.", "ops", query{rate("hashpivot_signals_pivot_values_total", "telling"), "{{telling}}"}),
		lines("Pivot without a value", "By reason.", "ops", query{rate("hashpivot_signals_pivot_without_value_total", "reason"), "{{reason}}"}),
		lines("Exposures", "Told, and days without a value.", "ops", query{rate("hashpivot_signals_exposure_values_total", "telling"), "{{telling}}"}, query{rate("hashpivot_signals_exposure_without_value_total", "reason"), "none: {{reason}}"}),
		lines("In memory", "Trade dates and prints.", "none", query{`sum(hashpivot_signals_dates_held)`, "dates"}, query{`sum(hashpivot_signals_prints_held)`, "prints"}),
		lines("Odd prints", "Conditions without a rule, dates read again, bars that cannot be, an hour.", "none", query{`sum by (source) (hashpivot_signals_unknown_conditions)`, "{{source}} unknown conditions"},
			query{`sum by (source) (increase(hashpivot_signals_dates_read_again_total[1h]))`, "{{source}} read again"}, query{`sum by (source) (increase(hashpivot_signals_bars_refused_total[1h]))`, "{{source}} refused"}),
	)
	row(b, "The data",
		sqlLines("Hashprice", "USD a PH/s and day, live.", "currencyUSD", "SELECT toStartOfInterval(event_time, INTERVAL 5 MINUTE) AS time, avg(toFloat64(hashprice_usd)) AS hashprice FROM ${database}.hashprice WHERE $__timeFilter(event_time) AND method = 'tip144' GROUP BY time ORDER BY time"),
		sqlLines("GPU hours", "USD, the index across providers, on demand.", "currencyUSD", "SELECT toStartOfInterval(event_time, INTERVAL 1 HOUR) AS time, gpu, avg(toFloat64(usd_per_gpu_hour)) AS usd FROM ${database}.gpu_rates WHERE $__timeFilter(event_time) AND method = 'gpu-wmedian' AND class = 'on-demand' GROUP BY time, gpu ORDER BY time"),
		sqlRows("Gaps", "What was missed, newest first.", "SELECT source, symbol, from_time, to_time, state, reason, recovered FROM ${database}.feed_gaps_now WHERE from_time >= $__fromTime AND from_time <= $__toTime ORDER BY from_time DESC LIMIT 50"),
		sqlRows("Audits", "Newest first.", "SELECT ended, stream, kind, by, clean, published, landed, dead, lost, doubled, altered, unverified, error FROM ${database}.audits WHERE ended >= $__fromTime AND ended <= $__toTime ORDER BY ended DESC LIMIT 50"),
	)
	return b
}
