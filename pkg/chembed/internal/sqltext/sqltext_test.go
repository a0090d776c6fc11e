package sqltext

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	f := func(sql string, want Kind) {
		t.Helper()
		if got := Parse(sql).Kind; got != want {
			t.Errorf("%q: kind %d, want %d", sql, got, want)
		}
	}
	f("", KindEmpty)
	f(" -- nothing\n /* at all */ ;", KindEmpty)
	f("SELECT 1", KindQuery)
	f("/* INSERT */ select 1", KindQuery)
	f("(SELECT 1) UNION ALL (SELECT 2)", KindQuery)
	f("WITH 1 AS x SELECT x", KindQuery)
	f("SHOW TABLES", KindOther)
	f("create table t (a UInt8) engine = Memory", KindOther)
	f("SET a = 1", KindSet)
	f("USE db", KindUse)
	f("INSERT INTO t SELECT 1", KindOther)
	f("INSERT INTO t (a) WITH 1 AS x SELECT x", KindOther)
	f("INSERT INTO t (SELECT 1)", KindOther)
	f("INSERT INTO t (a, b) (SELECT 1, 2)", KindInsert) // the engine says what is wrong with it
	f("INSERT INTO t FROM INFILE 'f' FORMAT CSV", KindOther)
	f("INSERT INTO t VALUES (1)", KindInsert)
	f("insert into t format Native", KindInsert)
}

func TestSelectParts(t *testing.T) {
	f := func(sql, format, unformatted string, multi bool) {
		t.Helper()
		st := Parse(sql)
		if st.Format != format || strings.TrimSpace(st.Unformatted) != unformatted || st.Multi != multi {
			t.Errorf("%q: format %q, rest %q, multi %v", sql, st.Format, st.Unformatted, st.Multi)
		}
	}
	f("SELECT 1", "", "SELECT 1", false)
	f("SELECT 1;", "", "SELECT 1", false)
	f("SELECT 1 ; -- done\n;", "", "SELECT 1", false)
	f("SELECT 1; SELECT 2", "", "SELECT 1", true)
	f("SELECT ';' ; ", "", "SELECT ';'", false)
	f("SELECT 1 FORMAT JSON", "JSON", "SELECT 1", false)
	f("SELECT 1 format CSV SETTINGS a = 1;", "CSV", "SELECT 1  SETTINGS a = 1", false)
	f("SELECT format FROM t", "", "SELECT format FROM t", false)
	f("SELECT 'x FORMAT CSV'", "", "SELECT 'x FORMAT CSV'", false)
	f("SELECT format('{}', 1)", "", "SELECT format('{}', 1)", false)
	f("SELECT (SELECT 1 FORMAT CSV)", "", "SELECT (SELECT 1 FORMAT CSV)", false)
	f("SELECT 1 -- FORMAT CSV", "", "SELECT 1 -- FORMAT CSV", false)
	f("SELECT $$;$$, $a$ FORMAT x $a$", "", "SELECT $$;$$, $a$ FORMAT x $a$", false)
	if !Parse("SELECT 1 INTO OUTFILE 'x'").Outfile {
		t.Error("INTO OUTFILE was overlooked")
	}
	if !Parse("CREATE OR REPLACE TEMPORARY TABLE t (a UInt8)").Temporary {
		t.Error("TEMPORARY was overlooked")
	}
}

func TestInsertParts(t *testing.T) {
	f := func(sql, header, target, columns, format, data string) {
		t.Helper()
		st := Parse(sql)
		in := st.Insert
		if st.Kind != KindInsert || in.Header != header || in.Target != target || in.Columns != columns || in.Format != format || st.InlineData(sql) != data {
			t.Errorf("%q: kind %d, %+v, data %q", sql, st.Kind, in, st.InlineData(sql))
		}
	}
	f("INSERT INTO t", "INSERT INTO t", "t", "", "Values", "")
	f("INSERT INTO t;", "INSERT INTO t", "t", "", "Values", "")
	f("INSERT INTO db.t (a, `b)`) VALUES", "INSERT INTO db.t (a, `b)`)", "db.t", "a, `b)`", "Values", "")
	f("INSERT INTO t VALUES (1, ';'), (2, '')", "INSERT INTO t", "t", "", "Values", "(1, ';'), (2, '')")
	f("INSERT INTO TABLE `my t` (a) FORMAT CSV\n1\n2\n", "INSERT INTO TABLE `my t` (a)", "`my t`", "a", "CSV", "1\n2\n")
	f("INSERT INTO t FORMAT TSV \n\tx\n", "INSERT INTO t", "t", "", "TSV", "\tx\n")
	f("INSERT INTO t (a) SETTINGS x = 1, y = 'FORMAT' FORMAT Native", "INSERT INTO t (a) SETTINGS x = 1, y = 'FORMAT'", "t", "a", "Native", "")
	f("INSERT INTO FUNCTION remote('h', d.t) (a) VALUES (1)", "INSERT INTO FUNCTION remote('h', d.t) (a)", "FUNCTION remote('h', d.t)", "a", "Values", "(1)")
	f("INSERT INTO t (* EXCEPT(a)) VALUES (1)", "INSERT INTO t (* EXCEPT(a))", "t", "* EXCEPT(a)", "Values", "(1)")
	f("INSERT INTO {t:Identifier} (a) VALUES (1)", "INSERT INTO {t:Identifier} (a)", "{t:Identifier}", "a", "Values", "(1)")
	f("/* hi */ INSERT INTO t -- x\n (a) VALUES (1)", "INSERT INTO t -- x\n (a)", "t", "a", "Values", "(1)")
}

func TestAssignments(t *testing.T) {
	f := func(sql string, want map[string]string) {
		t.Helper()
		if got := Assignments(sql); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", sql, got, want)
		}
	}
	f("SET a = 1", map[string]string{"a": "1"})
	f("set a = 'x, y', b = -1.5, c = {'k': [1, 2]};", map[string]string{"a": "'x, y'", "b": "-1.5", "c": "{'k': [1, 2]}"})
	f("SET flag", map[string]string{"flag": "1"})
	f("SELECT 1", nil)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"SELECT 1 FORMAT JSON SETTINGS a = 1;", "INSERT INTO db.`t` (a, b) FORMAT CSV\n1,2", "INSERT INTO FUNCTION f((1)) VALUES (1)",
		"SET a = 1, b = [1]", "WITH $$x$$ AS y SELECT 'it''s \\'' /* ; */ -- x", "INSERT INTO {t:Identifier} VALUES", "`\"'$(", "KILL QUERY WHERE query_id = 'x' SYNC FORMAT TSV", "SELECT 1 SETTINGS a = [1, 2], b = 'x'",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		st := Parse(sql)
		if len(st.Text) > len(sql) || len(st.Insert.Header) > len(sql) {
			t.Fatal("a part is longer than the whole")
		}
		_ = st.InlineData(sql)
		_ = Assignments(sql)
		// Whatever stands around it, a setting in its clause is seen.
		if got := Settings("SELECT 1 SETTINGS a_b = " + Quote(sql) + ", c = 2 FORMAT JSON"); Unquote(got["a_b"]) != sql && !strings.Contains(sql, "\x00") || got["c"] != "2" {
			t.Fatalf("settings %q", got)
		}
		for _, w := range Words(sql) {
			if w.Start >= w.End || w.End > len(sql) {
				t.Fatalf("word %+v", w)
			}
		}
		if got := SplitList(QuoteName(sql) + " Tuple(a UInt8, b String), c UInt8"); len(got) != 2 {
			t.Fatalf("list %q", got)
		}
		_ = SplitList(sql)
		_, _, _ = CutName(sql)
		// What is quoted reads back as one token.
		q := Quote(sql)
		s := scanner{text: q}
		if tok := s.next(); tok.kind != tokenString || tok.end != len(q) {
			t.Fatalf("Quote(%q) = %s is not one literal", sql, q)
		}
		n := QuoteName(sql)
		s = scanner{text: n}
		if tok := s.next(); tok.kind != tokenQuoted || tok.end != len(n) {
			t.Fatalf("QuoteName(%q) = %s is not one identifier", sql, n)
		}
	})
}

func TestKill(t *testing.T) {
	for sql, want := range map[string]Kill{
		"KILL QUERY WHERE query_id = 'a'":                    {Where: "query_id = 'a'"},
		"kill query where user = 'x' SYNC":                   {Where: "user = 'x'", Sync: true},
		"KILL QUERY WHERE 1 ASYNC FORMAT JSON":               {Where: "1"},
		"KILL QUERY WHERE query = 'SYNC' TEST;":              {Where: "query = 'SYNC'", Test: true},
		"/* x */ KILL QUERY WHERE (SELECT 1) = 1 -- comment": {Where: "(SELECT 1) = 1"},
	} {
		if st := Parse(sql); st.Kind != KindKill || st.Kill != want {
			t.Errorf("%s: kind %d, %+v; want %+v", sql, st.Kind, st.Kill, want)
		}
	}
	for _, sql := range []string{"KILL MUTATION WHERE 1", "KILL QUERY ON CLUSTER c WHERE 1", "SELECT 'KILL QUERY WHERE 1'"} {
		if st := Parse(sql); st.Kind == KindKill {
			t.Errorf("%s is taken for a KILL QUERY", sql)
		}
	}
}

func TestSettings(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1 SETTINGS max_threads = 5":                              "map[max_threads:5]",
		"SELECT (SELECT 1 SETTINGS a = 1, b = 'x y') SETTINGS c = [1,2]": "map[a:1 b:'x y' c:[1,2]]",
		"SET a = 1, `b` = -2":                                            "map[a:1 b:-2]",
		"SELECT 1 SETTINGS a = 'SETTINGS b = 1' FORMAT JSON":             "map[a:'SETTINGS b = 1']",
		"SELECT settings FROM t":                                         "map[]",
		"INSERT INTO t SETTINGS a = DEFAULT FORMAT Null":                 "map[a:DEFAULT]",
	} {
		if got := fmt.Sprint(Settings(sql)); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}
