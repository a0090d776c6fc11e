// @clickhouse/client: HTTP from Node.js.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createClient } from '@clickhouse/client'

const env = process.env
const version = createRequire(import.meta.url)('@clickhouse/client/package.json').version
const rowsWanted = Number(env.CH_ROWS)
const make = (more = {}) =>
  createClient({ url: `http://127.0.0.1:${env.CH_HTTP}`, username: env.CH_USER, password: env.CH_PASSWORD, request_timeout: 300000, log: { level: 127 }, ...more })
const c = make()

async function cell(operation, fn) {
  const name = `@clickhouse/client ${version} (Node.js)`
  try {
    console.log([name, operation, 'ok', (await fn()) ?? ''].join('\t'))
  } catch (e) {
    console.log([name, operation, 'no', `${e.name}: ${String(e.message).split('\n')[0]}`.slice(0, 300)].join('\t'))
  }
}
function expect(got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`)
}
async function refused(fn, ...words) {
  try {
    await fn()
  } catch (e) {
    if (words.some((w) => `${e.message} ${e.code} ${e.type}`.includes(w))) return
    throw new Error(`another error: ${e.message}`)
  }
  throw new Error('no error')
}
const json = async (query, more = {}) => (await c.query({ query, format: 'JSONEachRow', ...more })).json()

await cell('connect', async () => {
  const p = await c.ping()
  if (!p.success) throw p.error
})
await cell('auth failure', () => refused(() => make({ password: 'wrong' }).query({ query: 'SELECT 1' }), '516', 'AUTHENTICATION_FAILED'))
await cell('select', async () => expect(await json('SELECT number::UInt32 AS n FROM numbers(3)'), [{ n: 0 }, { n: 1 }, { n: 2 }]))
await cell('insert', async () => {
  await c.command({ query: 'CREATE OR REPLACE TABLE js (a UInt32, b String) ENGINE = MergeTree ORDER BY a' })
  const { summary } = await c.insert({ table: 'js', values: [{ a: 1, b: 'x' }, { a: 2, b: 'y' }], format: 'JSONEachRow' })
  expect(summary.written_rows, '2')
  expect(await json('SELECT sum(a)::UInt32 AS s FROM js'), [{ s: 3 }])
})
await cell('types', async () => {
  const types = readFileSync(env.CH_TYPES, 'utf8').trimEnd().split('\n').map((l) => l.split('\t'))
  const bad = []
  // Numbers of 64 bits and more fit in no number of JavaScript's.
  const exact = { clickhouse_settings: { output_format_json_quote_64bit_integers: 1, output_format_json_quote_decimals: 1 } }
  for (const [name, sql] of types) {
    try {
      const kind = name.startsWith('Nested') ? 'Array(Tuple(a UInt8, b String))' : name
      const before = await json(`SELECT ${sql} AS v`, exact)
      await c.command({ query: 'DROP TABLE IF EXISTS js_t' })
      await c.command({ query: `CREATE TABLE js_t (v ${kind}) ENGINE = Memory` })
      await c.insert({ table: 'js_t', values: before, format: 'JSONEachRow' })
      expect(await json('SELECT v FROM js_t', exact), before)
    } catch (e) {
      bad.push(`${name} (${e.message.split('\n')[0].slice(0, 60)})`)
    }
  }
  if (bad.length) throw new Error(`${types.length - bad.length} of ${types.length}; not ${bad.join(', ')}`)
  return `${types.length} of ${types.length}`
})
await cell('parameters', async () =>
  expect(await json('SELECT {n:UInt8} + 1 AS n, {s:String} AS s, {a:Array(UInt8)} AS a', { query_params: { n: 41, s: "it's", a: [1, 2] } }), [{ n: 42, s: "it's", a: [1, 2] }]))
await cell('sessions', async () => {
  const s = make({ session_id: 'js-session' })
  await s.command({ query: 'CREATE TEMPORARY TABLE tmp AS SELECT 5::UInt8 AS five' })
  expect(await (await s.query({ query: 'SELECT five FROM tmp', format: 'JSONEachRow' })).json(), [{ five: 5 }])
  await refused(() => json('SELECT five FROM tmp'), 'UNKNOWN_TABLE')
})
await cell('cancel', async () => {
  const abort = new AbortController()
  const running = c.query({ query: 'SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1', query_id: 'js-cancel', abort_signal: abort.signal })
  running.catch(() => {})
  const until = async (n) => {
    for (let i = 0; i < 600; i++) {
      if ((await json("SELECT 1 FROM system.processes WHERE query_id = 'js-cancel'")).length === n) return
      await new Promise((r) => setTimeout(r, 50))
    }
    throw new Error(`there are never ${n} of it`)
  }
  await until(1)
  abort.abort()
  await refused(() => running, 'abort', 'cancel')
  await until(0)
  return 'by closing the request'
})
await cell('error in mid-stream', () =>
  refused(async () => {
    const r = await c.query({ query: 'SELECT number, throwIf(number = 2999999) FROM numbers(3000000)', format: 'JSONEachRow' })
    for await (const _ of r.stream());
  }, 'throwIf', '395', 'aborted', 'exception'))
await cell('compression', async () => {
  const z = make({ compression: { request: true, response: true } })
  await z.insert({ table: 'js', values: [{ a: 10, b: 'z' }], format: 'JSONEachRow' })
  const r = await z.query({ query: 'SELECT number FROM numbers(100000)', format: 'JSONCompactEachRow' })
  expect((await r.json()).length, 100000)
  return 'gzip both ways'
})
await cell('rows out', async () => {
  const r = await c.query({ query: `SELECT number, number * 2 AS b FROM numbers(${rowsWanted})`, format: 'JSONCompactEachRow' })
  let n = 0
  for await (const rows of r.stream()) n += rows.length
  expect(n, rowsWanted)
  return `${rowsWanted} rows`
})
await cell('rows in', async () => {
  const { Readable } = await import('node:stream')
  await c.command({ query: 'CREATE OR REPLACE TABLE js_m (a UInt64, b Float64) ENGINE = MergeTree ORDER BY a' })
  function* lines() {
    for (let at = 0; at < rowsWanted; at += 10000) {
      let s = ''
      for (let i = at; i < Math.min(at + 10000, rowsWanted); i++) s += `${i},${i}\n`
      yield s
    }
  }
  await c.insert({ table: 'js_m', values: Readable.from(lines(), { objectMode: false }), format: 'CSV' })
  expect(await json('SELECT count()::UInt32 AS n, uniqExact(a)::UInt32 AS u FROM js_m'), [{ n: rowsWanted, u: rowsWanted }])
  return `${rowsWanted} rows`
})
await c.close()
process.exit(0)
