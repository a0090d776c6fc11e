package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/signals"
)

// What the database of the queries holds besides its trades: five years up to the last trade date, 100 symbols of unequal business. Everything is generated inside the
// engine from hashes, so that it is the same each time, and has the source sim-bench.
const (
	fillSymbols   = 100
	fillTradeDays = 1260
	// fillQuoteDays are the last trade dates, which have quotes: a day's join needs no more, and quotesPerTrade of five years fit no disk here.
	fillQuoteDays  = 63
	quotesPerTrade = 3
	// An order takes one print or several with one time: 6 of 10 one, 2 two, 1 three, 1 four to eight.
	printsPerOrder = 1.9
)

// fillLastDay is the last trade date of the generated data; the others are the weekdays before it.
var fillLastDay = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

func fillDays() []time.Time {
	out := make([]time.Time, 0, fillTradeDays)
	for d := fillLastDay; len(out) < fillTradeDays; d = d.AddDate(0, 0, -1) {
		if d.Weekday() != time.Saturday && d.Weekday() != time.Sunday {
			out = append(out, d)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// fillDatabase generates rows trades and the rest of five years.
func fillDatabase(ctx context.Context, st *store.Store, rows int) error {
	if err := signals.LoadReference(ctx, st.Exec); err != nil {
		return err
	}
	for _, sql := range []string{fillSymbolsSQL, fillLevelsSQL, fillBarsSQL, fillMinutesSQL, fillPricesSQL, fillHashpriceSQL, fillRatesSQL, fillBTCBarsSQL} {
		if err := st.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%w in %.100s", err, sql)
		}
	}
	days := fillDays()
	for i, day := range days {
		n := rows*(i+1)/len(days) - rows*i/len(days)
		if err := st.Exec(ctx, fillTicksSQL(fillTradesSQL, day, i, float64(n)/printsPerOrder)); err != nil {
			return fmt.Errorf("generate trades of %s: %w", day.Format(time.DateOnly), err)
		}
		if i >= len(days)-fillQuoteDays {
			if err := st.Exec(ctx, fillTicksSQL(fillQuotesSQL, day, i, float64(n)*quotesPerTrade)); err != nil {
				return fmt.Errorf("generate quotes of %s: %w", day.Format(time.DateOnly), err)
			}
		}
	}
	return nil
}

// fillTicksSQL puts a day into a statement. Times lie in the session, more of them at its ends, 6 of 100 outside it; a price goes on from its last
// by -1, 0 or 1 cents.
func fillTicksSQL(sql string, day time.Time, index int, orders float64) string {
	return strings.NewReplacer("{day}", day.Format(time.DateOnly), "{index}", fmt.Sprint(index), "{orders}", fmt.Sprintf("%.3f", orders)).Replace(sql)
}

const (
	// The share of the n-th symbol in the business is that of 1/(n+3).
	fillSymbolsSQL = `CREATE TABLE IF NOT EXISTS bench_symbols ENGINE = MergeTree ORDER BY symbol AS
SELECT number AS id, if(number < 10, ['WGMI', 'IREN', 'CORZ', 'BTBT', 'MARA', 'RIOT', 'CLSK', 'CIFR', 'WULF', 'HUT'][number + 1], concat('SYM', leftPad(toString(number), 2, '0'))) AS symbol,
	(1 / (number + 3)) / (SELECT sum(1 / (number + 3)) FROM numbers(100)) AS share, 500 + sipHash64('base', number) % 9500 AS cents
FROM numbers(100)`

	// Prices by day: a random walk of 4 % a day.
	fillLevelsSQL = `CREATE TABLE IF NOT EXISTS bench_levels ENGINE = MergeTree ORDER BY (day, id) AS
SELECT id, symbol, share, day, toInt64(greatest(50, cents * exp(sum((sipHash64('walk', id, day) % 2001 / 1000. - 1) * 0.04) OVER (PARTITION BY id ORDER BY day)))) AS cents
FROM bench_symbols CROSS JOIN (SELECT toUInt16(number) AS day FROM numbers(1260)) AS days`

	fillTradesSQL = `INSERT INTO trades (event_time, recv_to_stream_ns, stream_after_event_ns, stream_seq, idx, source, action, symbol, trade_number, exchange, tape, price_usd, size_shares, condition_codes)
SELECT fromUnixTimestamp64Nano(t, 'UTC'), 1000 * (200 + h2 % 1800), 1000 * (500 + h % 4700 + h2 % 1800),
	{index} * 100000000 + n, j, 'sim-bench', if(h3 % 50000 = 0, 'cancel', 'trade'), symbol, 52900000000000 + {index} * 10000000 + n * 3 + j,
	['D', 'Q', 'P', 'K', 'Z', 'N', 'D', 'V'][1 + h3 % 8], 'C', toDecimal64(cents + if(h3 % 5 = 0, toInt64(h3 % 3) - 1, 0), 8) / 100,
	toDecimal64(multiIf(h4 % 100 < 45, 1 + h4 % 99, h4 % 100 < 80, 100, 100 * (1 + h4 % 12)), 8) AS size,
	concat('@,', if(h4 % 7 = 0, 'F,', ''), if(size < 100, 'I,', ''), if(outside, 'T,', ''))
FROM
(
	SELECT *, arrayJoin(range(multiIf(h % 10 < 6, 1, h % 10 < 8, 2, h % 10 < 9, 3, 4 + h2 % 5))) AS j, sipHash64(t, j, id) AS h3, cityHash64(h3) AS h4
	FROM
	(
		SELECT *, rowNumberInAllBlocks() AS n, sipHash64('order', t, id) AS h, cityHash64(h) AS h2
		FROM
		(` + fillWalk + `)
	)
)
SETTINGS max_threads = 2, max_insert_threads = 1, min_insert_block_size_rows = 4000000, min_insert_block_size_bytes = 1000000000, max_memory_usage = 6000000000`

	fillQuotesSQL = `INSERT INTO quotes (event_time, recv_to_stream_ns, stream_after_event_ns, stream_seq, idx, source, symbol, bid_exchange, ask_exchange, bid_price_usd, ask_price_usd, bid_size_shares, ask_size_shares,
	conditions, tape)
SELECT fromUnixTimestamp64Nano(t, 'UTC'), 1000 * (200 + h2 % 1800), 1000 * (500 + h % 4700 + h2 % 1800),
	{index} * 100000000 + n, 0, 'sim-bench', symbol, ['Q', 'P', 'K', 'Z', 'N', 'V'][1 + h % 6], ['Q', 'P', 'K', 'Z', 'N', 'V'][1 + h2 % 6],
	toDecimal64(cents - 1 - toInt64(h % 2), 8) / 100, toDecimal64(cents + 1, 8) / 100, toDecimal64(100 * (1 + h % 9), 8), toDecimal64(100 * (1 + h2 % 9), 8), ['R'], 'C'
FROM
(
	SELECT *, rowNumberInAllBlocks() AS n, sipHash64('quote', t, id) AS h, cityHash64(h) AS h2
	FROM
	(` + fillWalk + `)
)
SETTINGS max_threads = 2, max_insert_threads = 1, min_insert_block_size_rows = 4000000, min_insert_block_size_bytes = 1000000000, max_memory_usage = 6000000000`

	fillWalk = `SELECT symbol, id, t, cents, outside
			FROM
			(
				SELECT symbol, id, toUInt32(greatest(1, {orders} * share)) AS count,
					arraySort(arrayMap(i -> (toInt64(toUnixTimestamp('{day} 00:00:00', 'UTC')) * 1000000000 + toInt64(multiIf(
						sipHash64('hour', {index}, id, i) % 100 < 3, 28800 + (sipHash64('at', {index}, id, i) % 1000000007) / 1000000007. * 23400,
						sipHash64('hour', {index}, id, i) % 100 < 6, 75600 + (sipHash64('at', {index}, id, i) % 1000000007) / 1000000007. * 14400,
						52200 + (0.5 + 0.5 * sign((sipHash64('at', {index}, id, i) % 1000000007) / 500000003.5 - 1) * pow(abs((sipHash64('at', {index}, id, i) % 1000000007) / 500000003.5 - 1), 0.7)) * 23400) * 1000000000.)
						), range(count))) AS times,
					arrayMap(c -> greatest(10, c + bench_levels.cents), arrayCumSum(arrayMap(i -> toInt64(sipHash64('step', {index}, id, i) % 3) - 1, range(count)))) AS walk
				FROM bench_levels
				WHERE day = {index}
			)
			ARRAY JOIN times AS t, walk AS cents, arrayMap(x -> x % 86400000000000 < 52200000000000 OR x % 86400000000000 >= 75600000000000, times) AS outside
			ORDER BY t, id`

	// A weekday's index is as good as its date here: the n-th of the generated days.
	fillDate = `toDate('2026-11-20') - toIntervalDay(intDiv(1259 - day, 5) * 7 + (1259 - day) % 5)`

	fillBarsSQL = `INSERT INTO bars (event_time, recv_time, stream_time, stream_seq, idx, source, symbol, interval, open_usd, high_usd, low_usd, close_usd, volume, trade_count, final, trade_date)
SELECT toDateTime64(toDateTime(` + fillDate + `, 'America/New_York'), 9, 'UTC') AS at, at + INTERVAL 21 HOUR, at + INTERVAL 21 HOUR, rowNumberInAllBlocks(), 0, 'sim-bench', symbol, '1d',
	toDecimal64(cents, 8) / 100, toDecimal64(cents + 20, 8) / 100, toDecimal64(cents - 20, 8) / 100, toDecimal64(cents + 5, 8) / 100, 1000000 + sipHash64(id, day) % 1000000, 9000, true, toString(` + fillDate + `)
FROM bench_levels`

	// One-minute bars of the ten busiest symbols.
	fillMinutesSQL = `INSERT INTO bars (event_time, recv_time, stream_time, stream_seq, idx, source, symbol, interval, open_usd, high_usd, low_usd, close_usd, volume, trade_count, final, session, trade_date)
SELECT toDateTime64(toDateTime(` + fillDate + `, 'UTC') + 52200 + minute * 60, 9, 'UTC') AS at, at + INTERVAL 61 SECOND, at + INTERVAL 61 SECOND, 1000000 + rowNumberInAllBlocks(), 0, 'sim-bench',
	symbol, '1m', toDecimal64(cents + toInt64(h % 9), 8) / 100, toDecimal64(cents + 12, 8) / 100, toDecimal64(cents - 4, 8) / 100, toDecimal64(cents + toInt64(h % 7), 8) / 100, h % 20000, h % 300, true, 'regular',
	toString(` + fillDate + `)
FROM (SELECT *, sipHash64(id, day, minute) AS h FROM bench_levels CROSS JOIN (SELECT toUInt32(number) AS minute FROM numbers(390)) AS minutes WHERE id < 10)`

	fillPricesSQL = `INSERT INTO btc_prices (event_time, recv_time, stream_time, stream_seq, idx, source, price_usd, bid_usd, ask_usd)
SELECT toDateTime64('2021-11-20 00:00:00', 9, 'UTC') + toIntervalMinute(number) AS at, at, at, number, 0, 'sim-bench', toDecimal64(60000 + 30000 * sin(number / 200000) + sipHash64(number) % 100, 8) AS p, p - 1, p + 1
FROM numbers(toUInt64(1826 * 1440))`

	// tip144 each ten minutes, daily once a day.
	fillHashpriceSQL = `INSERT INTO hashprice (event_time, recv_time, stream_time, stream_seq, idx, source, method, height, difficulty, subsidy_sat, mean_fees_sat, fee_window_blocks, btc_usd, hashprice_btc, hashprice_sat,
	hashprice_usd, network_ehs)
SELECT toDateTime64('2021-11-20 00:00:00', 9, 'UTC') + toIntervalMinute(number * 10) AS at, at, at, number, each, 'sim-bench', if(each = 1, 'daily', 'tip144'), 700000 + number, toDecimal128(90000000000000, 19), 312500000,
	9000000, 144, 60000, toDecimal128(0.0008, 19), 80000, toDecimal128(48 + 10 * sin(number / 9000) + sipHash64(number) % 100 / 100., 19), 700
FROM numbers(1826 * 144) ARRAY JOIN [0, 1] AS each
WHERE each = 0 OR number % 144 = 0`

	fillRatesSQL = `INSERT INTO gpu_rates (event_time, recv_time, stream_time, stream_seq, idx, source, gpu, class, method, version, usd_per_gpu_hour, p10_usd_per_gpu_hour, p90_usd_per_gpu_hour, dispersion,
	sample_offers, sample_gpus, sample_hosts)
SELECT toDateTime64('2021-11-20 00:00:00', 9, 'UTC') + toIntervalHour(number) AS at, at, at, number, g, 'sim-bench', ['h100-sxm', 'h200', 'b200', 'a100-sxm', 'h100-pcie', 'l40s', 'rtx-4090', 'rtx-5090'][g + 1], 'on-demand',
	'gpu-wmedian', 1, toDecimal64(1.5 + g / 4 + sin(number / 5000) / 2 + sipHash64(number, g) % 20 / 100., 8) AS rate, rate * 8 / 10, rate * 13 / 10, 0.3, 200, 900, 80
FROM numbers(1826 * 24) ARRAY JOIN range(8) AS g`

	fillBTCBarsSQL = `INSERT INTO bars (event_time, recv_time, stream_time, stream_seq, idx, source, symbol, interval, open_usd, high_usd, low_usd, close_usd, volume, trade_count, final)
SELECT toDateTime64('2021-11-20 00:00:00', 9, 'UTC') + toIntervalDay(number) AS at, at, at, 9000000 + number, 0, 'sim-bench', 'BTC-USD', '1d', 60000, 62000, 59000, toDecimal64(60000 + 30000 * sin(number / 139), 8), 1000, 90000, true
FROM numbers(1826)`
)
