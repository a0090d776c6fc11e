package run_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/run"
)

type keyring struct {
	Inner Inner            `koanf:"inner"`
	Keys  map[string]Inner `koanf:"keys"`
	List  []Inner          `koanf:"list"`
	Wide  wide             `koanf:"wide"`
}

// TestSecretsFromFiles: every secret can be given as a file, wherever it stands, and by the environment too.
func TestSecretsFromFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	a, b, c, d, e := put("a", "sesame\n"), put("b", "two words "), put("c", "mehr\r\n"), put("d", "quatre"), put("e", "cinq\n")
	config := put("c.yaml", "keys:\n  one:\n    key_file: "+b+"\n  two: {n: 1}\nlist:\n  - key_file: "+c+"\nwide:\n  key_file: "+d+"\ninner:\n  key_file: \"\"\n")
	k := keyring{}
	err := run.Load(&k, run.Source{File: config, Environ: []string{"HASHPIVOT_INNER__KEY_FILE=" + a, "HASHPIVOT_KEYS__TWO__KEY_FILE=" + e}})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{k.Inner.Key.Reveal(), k.Keys["one"].Key.Reveal(), k.Keys["two"].Key.Reveal(), k.List[0].Key.Reveal(), k.Wide.Key.Reveal()}
	if want := "sesame|two words |cinq|mehr|quatre"; strings.Join(got, "|") != want {
		t.Errorf("read %q, want %s", got, want)
	}
	if k.Keys["two"].N != 1 {
		t.Error("a key beside it is lost")
	}

	many := put("many", strings.Repeat("x", 1<<20))
	for _, x := range []struct{ yaml, want string }{
		{"inner:\n  key: sesame\n  key_file: " + a, "inner.key and inner.key_file are both given"},
		{"inner:\n  key_file: " + a + "x", "does not exist"},
		{"inner:\n  key_file: " + dir, "inner.key_file: read"},
		{"inner:\n  key_file: " + put("empty", "\n"), "is empty"},
		{"inner:\n  key_file: " + many, "has more than 65536 bytes"},
		{"inner:\n  key_file: [a]", "inner.key_file: is not the name of a file"},
		{"inner:\n  key_fiel: " + a, "did you mean inner.key_file?"},
		{"inner:\n  key: 0123", "inner.key: YAML reads it as a number"},
		{"inner:\n  key: true", "put it in quotes"},
		{"inner:\n  key: {deep: sesame}", "inner.key: is not a text"},
		{"keys:\n  one: {key: [sesame]}", "keys.one.key: is not a text"},
	} {
		err := run.Load(&keyring{}, run.Source{File: put("bad.yaml", x.yaml)})
		if _, ok := errors.AsType[*run.UsageError](err); !ok || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v, want %q", x.yaml, err, x.want)
		}
	}
	if err := run.Load(&keyring{}, run.Source{Set: []string{"inner.key:sesame"}}); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("an assignment that is none: %v", err)
	}
}
