import java.nio.file.*;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

/** The JDBC driver, which DBeaver uses too: HTTP. */
public class Compat {
  interface Op { String run() throws Exception; }

  static final String url = "jdbc:clickhouse://127.0.0.1:" + System.getenv("CH_HTTP") + "/default";
  static String name = "clickhouse-jdbc";

  static Connection connect(String password) throws SQLException {
    Properties p = new Properties();
    p.setProperty("user", System.getenv("CH_USER"));
    p.setProperty("password", password);
    return DriverManager.getConnection(url, p);
  }

  static void cell(String operation, Op op) {
    try {
      String note = op.run();
      System.out.println(String.join("\t", name, operation, "ok", note == null ? "" : note));
    } catch (Throwable e) {
      String text = String.valueOf(e.getMessage()).split("\n")[0];
      System.out.println(String.join("\t", name, operation, "no", e.getClass().getSimpleName() + ": " + text.substring(0, Math.min(200, text.length()))));
    }
  }

  static void expect(Object got, Object want) {
    if (!Objects.equals(String.valueOf(got), String.valueOf(want))) throw new AssertionError("got " + got + ", want " + want);
  }

  static void refused(Op op, String... words) throws Exception {
    try {
      op.run();
    } catch (Exception e) {
      StringBuilder all = new StringBuilder();
      for (Throwable t = e; t != null; t = t.getCause()) all.append(t);
      for (String w : words) if (all.toString().contains(w)) return;
      throw new AssertionError("another error: " + all);
    }
    throw new AssertionError("no error");
  }

  public static void main(String[] args) throws Exception {
    String password = System.getenv("CH_PASSWORD");
    int rows = Integer.parseInt(System.getenv("CH_ROWS"));
    Connection c = connect(password);
    name = "clickhouse-jdbc " + c.getMetaData().getDriverVersion().split(" ")[0] + " (Java)";
    Statement s = c.createStatement();
    cell("connect", () -> c.getMetaData().getDatabaseProductVersion());
    cell("auth failure", () -> { refused(() -> { connect("wrong").createStatement().executeQuery("SELECT 1"); return ""; }, "516", "Authentication failed"); return ""; });
    cell("select", () -> {
      ResultSet r = s.executeQuery("SELECT number, toString(number) FROM numbers(3)");
      int n = 0;
      while (r.next()) { expect(r.getLong(1), n); expect(r.getString(2), n); n++; }
      expect(n, 3);
      ResultSet t = c.getMetaData().getTables(null, "system", "one", null);
      expect(t.next(), true);
      ResultSet col = c.getMetaData().getColumns(null, "system", "one", "%");
      expect(col.next(), true);
      return "and metadata";
    });
    cell("insert", () -> {
      s.execute("CREATE OR REPLACE TABLE jv (a UInt64, b String) ENGINE = MergeTree ORDER BY a");
      PreparedStatement p = c.prepareStatement("INSERT INTO jv VALUES (?, ?)");
      for (int i = 0; i < 3; i++) { p.setLong(1, i); p.setString(2, "it's " + i); p.addBatch(); }
      p.executeBatch();
      ResultSet r = s.executeQuery("SELECT sum(a), any(b) FROM jv WHERE b LIKE 'it''s%'");
      r.next();
      expect(r.getLong(1), 3);
      return "";
    });
    cell("types", () -> {
      List<String> bad = new ArrayList<>();
      int all = 0;
      for (String line : Files.readAllLines(Path.of(System.getenv("CH_TYPES")))) {
        String[] t = line.split("\t");
        all++;
        try (ResultSet r = s.executeQuery("SELECT " + t[1] + " AS v")) {
          r.next();
          r.getObject(1);
        } catch (Throwable e) {
          bad.add(t[0] + " (select: " + e.getClass().getSimpleName() + ")");
        }
      }
      if (!bad.isEmpty()) throw new AssertionError((all - bad.size()) + " of " + all + " read; not " + String.join(", ", bad));
      return all + " of " + all + " read";
    });
    cell("parameters", () -> {
      PreparedStatement p = c.prepareStatement("SELECT ? + 1, ?");
      p.setInt(1, 41);
      p.setString(2, "it's");
      ResultSet r = p.executeQuery();
      r.next();
      expect(r.getInt(1), 42);
      expect(r.getString(2), "it's");
      return "client-side";
    });
    cell("cancel", () -> {
      Statement q = c.createStatement();
      Future<Exception> f = Executors.newSingleThreadExecutor().submit(() -> {
        try { q.executeQuery("SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1 -- jdbc-cancel").next(); return null; } catch (Exception e) { return e; }
      });
      long deadline = System.currentTimeMillis() + 30000;
      while (true) {
        ResultSet r = s.executeQuery("SELECT count() FROM system.processes WHERE query LIKE '%jdbc-" + "cancel%' AND query NOT LIKE '%processes%'");
        r.next();
        if (r.getInt(1) == 1) break;
        if (System.currentTimeMillis() > deadline) throw new AssertionError("it never ran");
      }
      q.cancel();
      if (f.get(30, TimeUnit.SECONDS) == null) throw new AssertionError("it ended well");
      return "Statement.cancel";
    });
    cell("error in mid-stream", () -> {
      refused(() -> { ResultSet r = s.executeQuery("SELECT number, throwIf(number = 2999999) FROM numbers(3000000)"); while (r.next()); return ""; }, "395", "throwIf", "closed", "premature", "Premature", "EOF");
      return "";
    });
    cell("rows out", () -> {
      ResultSet r = s.executeQuery("SELECT number, number * 2 FROM numbers(" + rows + ")");
      int n = 0;
      while (r.next()) n++;
      expect(n, rows);
      return rows + " rows";
    });
    cell("rows in", () -> {
      s.execute("CREATE OR REPLACE TABLE jm (a UInt64, b Float64) ENGINE = MergeTree ORDER BY a");
      PreparedStatement p = c.prepareStatement("INSERT INTO jm VALUES (?, ?)");
      for (int i = 0; i < rows; i++) {
        p.setLong(1, i);
        p.setDouble(2, i);
        p.addBatch();
        if (i % 100000 == 99999 || i == rows - 1) p.executeBatch();
      }
      ResultSet r = s.executeQuery("SELECT count(), uniqExact(a) FROM jm");
      r.next();
      expect(r.getInt(1), rows);
      expect(r.getInt(2), rows);
      return rows + " rows";
    });
    System.exit(0);
  }
}
