package chembed

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzMendLog: whatever a log of tokens holds, what was there stays, and what is added takes back tokens of one part that is not there.
func FuzzMendLog(f *testing.F) {
	for _, s := range []string{
		"", "\n", "1\tall_1_1_0\tall_1_2\n", "1\tall_1_1_0\tall_1_2\n1\tall_2_2_0\tall_3_4\n", "1\tall_2_2_0\ta\n1\tall_2_2_0\tb\n", "1\tall_2_2_0\ta\n2\tall_2_2_0\ta\n",
		"1\tall_2_2_0", "1\tall_2_2\tx\n", "half an entry\n1\t2026_11_9_9_0\tx\n", "1\tall_18446744073709551616_1_0\tx\n", "3\tall_9_9_0\tx\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		table := t.TempDir()
		logs := filepath.Join(table, "deduplication_logs")
		for _, dir := range []string{logs, filepath.Join(table, "all_1_5_2_7"), filepath.Join(table, "detached")} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(logs, "deduplication_log_3.txt")
		for name, content := range map[string][]byte{file: data, filepath.Join(logs, "deduplication_log_10.txt"): nil} {
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		part, n, err := mendLog(logs)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		added, ok := bytes.CutPrefix(got, data)
		if !ok || bytes.Count(added, []byte("\n")) != n {
			t.Fatalf("%d tokens taken back of %q: %q", n, data, got)
		}
		for line := range strings.Lines(string(added)) {
			if !strings.HasPrefix(line, tokenDropped+"\t"+part+"\t") || !strings.Contains(string(data), tokenAdded+line[len(tokenDropped):]) {
				t.Errorf("%q takes back what is not in %q", line, data)
			}
		}
		if there, err := partStands(table, part); n > 0 && (there || err != nil) {
			t.Errorf("part %q stands: %v", part, err)
		}
		// What was mended is not mended again.
		if _, again, err := mendLog(logs); again != 0 || err != nil {
			t.Errorf("%d more, %v", again, err)
		}
	})
}
