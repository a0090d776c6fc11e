"""clickhouse-driver: the native protocol in Python; and SQLAlchemy over both protocols."""

import threading
import time

import clickhouse_driver
import clickhouse_sqlalchemy
import sqlalchemy
from clickhouse_driver import Client

from report import HOST, HTTP, NATIVE, PASSWORD, ROWS, USER, cell, expect, refused, types


def client(**more):
    return Client(**(dict(host=HOST, port=NATIVE, user=USER, password=PASSWORD) | more))


c = client()


def connect():
    expect(c.execute("SELECT 1"), [(1,)])
    info = c.connection.server_info
    return f"revision {info.used_revision if hasattr(info, 'used_revision') else info.revision}"


def auth():
    refused(lambda: client(password="wrong").execute("SELECT 1"), "Authentication failed")


def select():
    expect(c.execute("SELECT number, toString(number) FROM numbers(3)"), [(0, "0"), (1, "1"), (2, "2")])
    rows, columns = c.execute("SELECT number AS n FROM numbers(0)", with_column_types=True)
    expect((rows, columns), ([], [("n", "UInt64")]))
    p = c.execute_with_progress("SELECT count() FROM numbers(10000000)")
    for _ in p:
        pass
    expect(p.get_result(), [(10000000,)])


def insert():
    c.execute("DROP TABLE IF EXISTS py_d")
    c.execute("CREATE TABLE py_d (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    expect(c.execute("INSERT INTO py_d VALUES", [(1, "x"), (2, "y")]), 2)
    c.execute("INSERT INTO py_d (b, a) VALUES", [{"a": 3, "b": "z"}], types_check=True)
    expect(c.execute("SELECT sum(a), count() FROM py_d"), [(6, 3)])


def every_type():
    t = client(send_receive_timeout=5)

    def fresh(fn, *args):
        try:
            return fn(*args)
        except Exception:
            t.disconnect()  # what it did not understand is still under way
            raise

    def roundtrip(name, sql, value):
        t.execute("DROP TABLE IF EXISTS py_dt")
        kind = "Array(Tuple(a UInt8, b String))" if name.startswith("Nested") else name
        t.execute(f"CREATE TABLE py_dt (v {kind}) ENGINE = Memory")
        t.execute("INSERT INTO py_dt VALUES", [(value,)])
        expect(t.execute("SELECT v FROM py_dt")[0][0], value)

    return types(lambda sql: fresh(lambda: t.execute(sql)[0][0]), lambda *args: fresh(roundtrip, *args))


def parameters():
    s = client()
    expect(s.execute("SELECT %(n)s + 1, %(s)s", {"n": 41, "s": "it's"}), [(42, "it's")])
    server = client(settings={"server_side_params": True})
    expect(server.execute("SELECT {n:UInt32} + 1, {s:String}", {"n": 41, "s": "it's"}), [(42, "it's")])
    return "client-side and server-side"


def sessions():
    c.execute("CREATE TEMPORARY TABLE tmp AS SELECT 5 AS five")
    expect(c.execute("SELECT five FROM tmp"), [(5,)])
    refused(lambda: client().execute("SELECT five FROM tmp"), "UNKNOWN_TABLE", "Unknown table")
    return "a connection is one"


def cancel():
    other = client()
    done = []

    def run():
        try:
            other.execute("SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1", query_id="py-d-cancel")
        except Exception as e:  # noqa: BLE001
            done.append(str(e))

    t = threading.Thread(target=run)
    t.start()
    deadline = time.time() + 30
    while not c.execute("SELECT 1 FROM system.processes WHERE query_id = 'py-d-cancel'"):
        assert time.time() < deadline, "it never ran"
    c.execute("KILL QUERY WHERE query_id = 'py-d-cancel' SYNC")
    t.join(30)
    assert done and "394" in done[0], done
    p = client()
    p.execute_iter("SELECT number FROM numbers(1000000000)")
    p.cancel()
    expect(p.execute("SELECT 1"), [(1,)])
    return "by KILL QUERY and by the Cancel packet"


def midstream():
    def read():
        for _ in c.execute_iter("SELECT number, throwIf(number = 2999999) FROM numbers(3000000)"):
            pass

    refused(read, "395")
    c.disconnect()
    expect(c.execute("SELECT 1"), [(1,)])


def compression():
    for how in ("lz4", "zstd"):
        z = client(compression=how)
        expect(sum(r[0] for r in z.execute("SELECT number FROM numbers(100000)")), 4999950000)
        z.execute("DROP TABLE IF EXISTS py_z")
        z.execute("CREATE TABLE py_z (a UInt64) ENGINE = Memory")
        z.execute("INSERT INTO py_z VALUES", [(i,) for i in range(1000)])
        expect(z.execute("SELECT sum(a) FROM py_z"), [(499500,)])
    return "lz4, zstd"


def many_out():
    n = client(settings={"max_block_size": 100000})
    got = 0
    for _ in n.execute_iter(f"SELECT number, number * 2 AS b FROM numbers({ROWS})"):
        got += 1
    expect(got, ROWS)
    return f"{ROWS} rows"


def many_in():
    n = client(settings={"use_numpy": True})
    import numpy

    n.execute("DROP TABLE IF EXISTS py_dm")
    n.execute("CREATE TABLE py_dm (a UInt64, b Float64) ENGINE = MergeTree ORDER BY a")
    step = min(ROWS, 1_000_000)
    for at in range(0, ROWS, step):
        a = numpy.arange(at, at + step, dtype="uint64")
        n.execute("INSERT INTO py_dm VALUES", [a, a.astype("float64")], columnar=True)
    expect(c.execute("SELECT count(), sum(a) FROM py_dm"), [(ROWS, ROWS * (ROWS - 1) // 2)])
    return f"{ROWS} rows"


def external():
    tables = [{"name": "ext", "structure": [("x", "Int32"), ("y", "Array(Int32)")], "data": [{"x": 100, "y": [2, 4]}, {"x": 500, "y": [2]}]}]
    expect(c.execute("SELECT sum(x), sum(length(y)) FROM ext", external_tables=tables), [(600, 3)])


def totals():
    rows = c.execute("SELECT number % 3 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k")
    expect(rows[-1], (0, 10))


for operation, fn in {
    "connect": connect, "auth failure": auth, "select": select, "insert": insert, "types": every_type, "parameters": parameters, "sessions": sessions,
    "cancel": cancel, "error in mid-stream": midstream, "compression": compression, "rows out": many_out, "rows in": many_in, "external tables": external,
    "totals": totals,
}.items():
    cell("clickhouse-driver " + ".".join(map(str, clickhouse_driver.VERSION)), operation, fn)

for scheme, port in (("clickhouse+native", NATIVE), ("clickhouse", HTTP)):
    name = f"SQLAlchemy {sqlalchemy.__version__} (clickhouse-sqlalchemy {'.'.join(map(str, clickhouse_sqlalchemy.VERSION))}, {'native' if port == NATIVE else 'HTTP'})"
    engine = sqlalchemy.create_engine(f"{scheme}://{USER}:{PASSWORD}@{HOST}:{port}/default")

    def sa_connect():
        with engine.connect() as conn:
            expect(conn.execute(sqlalchemy.text("SELECT 1")).fetchall(), [(1,)])

    def sa_auth():
        wrong = sqlalchemy.create_engine(f"{scheme}://{USER}:wrong@{HOST}:{port}/default")
        refused(lambda: wrong.connect().execute(sqlalchemy.text("SELECT 1")), "516", "Authentication failed")

    def sa_insert():
        from clickhouse_sqlalchemy import engines
        from clickhouse_sqlalchemy import types as ct

        table = sqlalchemy.Table(f"sa_{port}", sqlalchemy.MetaData(), sqlalchemy.Column("a", ct.UInt64), sqlalchemy.Column("b", ct.String), engines.MergeTree(order_by="a"))
        with engine.connect() as conn:
            conn.execute(sqlalchemy.text(f"DROP TABLE IF EXISTS sa_{port}"))
            table.create(conn)
            conn.execute(table.insert(), [{"a": 1, "b": "x"}, {"a": 2, "b": "it's"}])
            expect(conn.execute(sqlalchemy.select(table).order_by(table.c.a)).fetchall(), [(1, "x"), (2, "it's")])
            assert f"sa_{port}" in sqlalchemy.inspect(conn).get_table_names()

    for operation, fn in {"connect": sa_connect, "auth failure": sa_auth, "insert": sa_insert}.items():
        cell(name, operation, fn)
