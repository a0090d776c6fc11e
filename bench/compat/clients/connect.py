"""clickhouse-connect: HTTP."""

import threading
import time

import clickhouse_connect

from report import HOST, HTTP, PASSWORD, ROWS, USER, cell, expect, refused, types

NAME = "clickhouse-connect"


def client(**more):
    args = dict(host=HOST, port=HTTP, username=USER, password=PASSWORD, autogenerate_session_id=False) | more
    return clickhouse_connect.get_client(**args)


c = client()


def connect():
    assert c.ping()
    return c.server_version


def auth():
    refused(lambda: client(password="wrong"), "516", "AUTHENTICATION_FAILED")


def select():
    expect(c.query("SELECT number, toString(number) FROM numbers(3)").result_rows, [(0, "0"), (1, "1"), (2, "2")])
    df = c.query_df("SELECT number AS n FROM numbers(10)")
    expect(int(df["n"].sum()), 45)


def insert():
    c.command("CREATE OR REPLACE TABLE py_c (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    c.insert("py_c", [[1, "x"], [2, "y"]], column_names=["a", "b"])
    import pandas

    c.insert_df("py_c", pandas.DataFrame({"a": [3, 4], "b": ["p", "q"]}))
    expect(c.query("SELECT sum(a), count() FROM py_c").result_rows, [(10, 4)])


def every_type():
    def roundtrip(name, sql, value):
        c.command("DROP TABLE IF EXISTS py_t")
        c.command(f"CREATE TABLE py_t (v {name}) ENGINE = Memory" if not name.startswith("Nested") else "CREATE TABLE py_t (v Array(Tuple(a UInt8, b String))) ENGINE = Memory")
        c.insert("py_t", [[value]], column_names=["v"])
        expect(c.query("SELECT v FROM py_t").result_rows[0][0], value)

    return types(lambda sql: c.query(sql).result_rows[0][0], roundtrip)


def parameters():
    got = c.query("SELECT {n:UInt32} + 1, {s:String}, {a:Array(UInt8)}", parameters={"n": 41, "s": "it's", "a": [1, 2]}).result_rows
    expect(got, [(42, "it's", [1, 2])])


def sessions():
    s = client(session_id="py-session")
    s.command("CREATE TEMPORARY TABLE tmp AS SELECT 5 AS five")
    expect(s.query("SELECT five FROM tmp").result_rows, [(5,)])
    refused(lambda: c.query("SELECT five FROM tmp"), "UNKNOWN_TABLE")


def cancel():
    ended = []

    def run():
        try:
            client().query("SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1", settings={"query_id": "py-cancel"})
        except Exception as e:  # noqa: BLE001
            ended.append(str(e))

    t = threading.Thread(target=run)
    t.start()
    deadline = time.time() + 30
    while not c.query("SELECT 1 FROM system.processes WHERE query_id = 'py-cancel'").result_rows:
        assert time.time() < deadline, "it never ran"
    c.command("KILL QUERY WHERE query_id = 'py-cancel' SYNC")
    t.join(30)
    assert ended and "QUERY_WAS_CANCELLED" in ended[0], ended
    return "KILL QUERY by its query_id"


def midstream():
    def read():
        with c.query_row_block_stream("SELECT number, throwIf(number = 2999999) FROM numbers(3000000)") as s:
            for _ in s:
                pass

    refused(read, "throwIf", "395", "FUNCTION_THROW")


def compression():
    for how in ("lz4", "zstd", "gzip"):
        z = client(compress=how)
        expect(z.query("SELECT sum(number) FROM (SELECT number FROM numbers(100000))").result_rows, [(4999950000,)])
        expect(len(z.query("SELECT number FROM numbers(100000)").result_rows), 100000)
    return "lz4, zstd, gzip"


def many_out():
    n = 0
    with c.query_column_block_stream(f"SELECT number, number * 2 AS b FROM numbers({ROWS})") as s:
        for block in s:
            n += len(block[0])
    expect(n, ROWS)
    return f"{ROWS} rows"


def many_in():
    import numpy

    c.command("CREATE OR REPLACE TABLE py_m (a UInt64, b Float64) ENGINE = MergeTree ORDER BY a")
    step = min(ROWS, 1_000_000)
    for at in range(0, ROWS, step):
        a = numpy.arange(at, at + step, dtype="uint64")
        c.insert("py_m", [a, a.astype("float64")], column_names=["a", "b"], column_oriented=True)
    expect(c.query("SELECT count(), sum(a) FROM py_m").result_rows, [(ROWS, ROWS * (ROWS - 1) // 2)])
    return f"{ROWS} rows"


def external():
    from clickhouse_connect.driver.external import ExternalData

    data = ExternalData(file_name="ids.csv", data=b"1\n2\n", fmt="CSV", structure=["id UInt8"])
    expect(c.query("SELECT sum(id) FROM ids", external_data=data).result_rows, [(3,)])


for operation, fn in {
    "connect": connect, "auth failure": auth, "select": select, "insert": insert, "types": every_type, "parameters": parameters, "sessions": sessions,
    "cancel": cancel, "error in mid-stream": midstream, "compression": compression, "rows out": many_out, "rows in": many_in, "external tables": external,
}.items():
    cell(NAME + " " + clickhouse_connect.__version__, operation, fn)
