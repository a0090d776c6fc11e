package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// secretKeys finds every secret of the configuration by its type; entries of maps stand under the key it.
func secretKeys(t reflect.Type, path string) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("koanf"), ",")
		at := path + name + "."
		switch {
		case option == "squash":
			out = append(out, secretKeys(f.Type, path)...)
		case name == "" || name == "-":
		case f.Type == reflect.TypeFor[run.Secret]():
			out = append(out, path+name)
		case f.Type.Kind() == reflect.Struct:
			out = append(out, secretKeys(f.Type, at)...)
		case f.Type.Kind() == reflect.Map && f.Type.Elem().Kind() == reflect.Struct:
			out = append(out, secretKeys(f.Type.Elem(), at+"it.")...)
		}
	}
	return out
}

// looksSecret are words in keys of texts that would have to be secrets.
var looksSecret = []string{"password", "secret", "token", "api_key", "seed"}

// TestSecretsStaySecret goes through every secret that there is: given by the environment and by a file, it shows in no configuration that is printed, no log, no
// error, however it is printed and whatever is wrong with it or beside it.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	keys := secretKeys(reflect.TypeFor[config](), "")
	if len(keys) < 20 {
		t.Fatalf("found only %v", keys)
	}
	variable := func(key string) string {
		return run.EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
	}
	token := func(key string) string { return "sesame-" + strings.NewReplacer(".", "-", "_", "-").Replace(key) }
	told := func(where string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if at := strings.Index(text, "sesame"); at >= 0 {
				t.Errorf("%s tells a secret: %.120s", where, text[max(at-40, 0):])
			}
		}
	}
	execute := func(env []string, args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		code = execute(t.Context(), args, env, &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	dir := t.TempDir()
	var all, files []string
	for _, key := range keys {
		all = append(all, variable(key)+"="+token(key))
		file := filepath.Join(dir, token(key)[len("sesame-"):])
		if err := os.WriteFile(file, []byte(token(key)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, variable(key)+"_FILE="+file)
	}
	// Secrets have shapes of their own here and there, or exclude each other, so a configuration of all of them need not be valid: it is read, and printed, as it is.
	for name, env := range map[string][]string{"environment": all, "files": files} {
		cfg := defaultConfig()
		if err := run.Load(&cfg, run.Source{Environ: env}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		reveal(reflect.ValueOf(cfg), &got)
		for _, key := range keys {
			if !slices.Contains(got, token(key)) {
				t.Errorf("%s: %s was not read", name, key)
			}
		}
		yaml, err := run.Print(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(yaml, []byte("********")); n != len(keys) {
			t.Errorf("%s: %d secrets are masked, of %d:\n%s", name, n, len(keys), yaml)
		}
		js, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var text, jsonLog bytes.Buffer
		for _, l := range []*slog.Logger{slog.New(slog.NewTextHandler(&text, nil)), slog.New(slog.NewJSONHandler(&jsonLog, nil))} {
			l.Info("configuration", "cfg", cfg, "pointer", &cfg, slog.Any("nats", cfg.NATS), "users", cfg.ClickHouse.Server.Users)
		}
		told(name, string(yaml), string(js), text.String(), jsonLog.String(), fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg), fmt.Sprintf("%v %+v", &cfg, &cfg))
	}
	for _, key := range keys {
		name, secret := variable(key), variable(key)+"="+token(key)
		for what, env := range map[string][]string{
			"alone": {secret}, "beside nonsense": {secret, "HASHPIVOT_LOG__LEVEL=loud", "HASHPIVOT_ADMIN__ADDR=x", "HASHPIVOT_SIM__RATE=-1"}, "below itself": {name + "__X=" + token(key)},
			"misspelt": {name + "X=" + token(key)}, "twice": {secret, name + "_FILE=" + filepath.Join(dir, token(key)[len("sesame-"):])},
		} {
			_, out := execute(env, "config", "--log-level", "debug")
			told(key+" "+what, out)
		}
		_, out := execute(nil, "config", "--set", key+":"+token(key))
		told(key+" as an assignment that is none", out)
	}
	// Commands that use them and come to nothing.
	env := append([]string{"HASHPIVOT_NATS__URL=nats://127.0.0.1:1", "HASHPIVOT_CLICKHOUSE__ADDR=127.0.0.1:1", "HASHPIVOT_ADMIN__ADDR=127.0.0.1:0", "HASHPIVOT_LOG__LEVEL=debug"},
		variable("nats.password")+"=sesame-1", variable("nats.token")+"=sesame-2", variable("clickhouse.password")+"=sesame-3", "HASHPIVOT_NATS__USER=lander")
	for _, args := range [][]string{{"lander"}, {"audit"}, {"status"}, {"migrate"}, {"sql", "SELECT 1"}, {"gateway"}} {
		code, out := execute(env, args...)
		if code == 0 {
			t.Errorf("%v succeeded", args)
		}
		told(strings.Join(args, " "), out)
	}
}

// reveal gathers the secrets of a value.
func reveal(v reflect.Value, out *[]string) {
	switch v.Kind() {
	case reflect.String:
		if s, ok := v.Interface().(run.Secret); ok {
			*out = append(*out, s.Reveal())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				reveal(v.Field(i), out)
			}
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			reveal(v.MapIndex(k), out)
		}
	}
}

// TestWhatLooksSecretIsOne: a new key that is named like a secret must be of its type.
func TestWhatLooksSecretIsOne(t *testing.T) {
	var look func(t reflect.Type, path string) []string
	look = func(t reflect.Type, path string) (out []string) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, option, _ := strings.Cut(f.Tag.Get("koanf"), ",")
			at := path + name
			if option != "squash" {
				at += "."
			}
			switch {
			case f.Type.Kind() == reflect.Struct:
				out = append(out, look(f.Type, at)...)
			case f.Type.Kind() == reflect.Map && f.Type.Elem().Kind() == reflect.Struct:
				out = append(out, look(f.Type.Elem(), at+"it.")...)
			case f.Type.Kind() == reflect.String && f.Type != reflect.TypeFor[run.Secret]() && !strings.HasSuffix(name, "_file") && slices.ContainsFunc(looksSecret, func(w string) bool { return strings.Contains(name, w) }):
				out = append(out, path+name)
			}
		}
		return out
	}
	if bad := look(reflect.TypeFor[config](), ""); len(bad) > 0 {
		t.Errorf("these would be printed: %v", bad)
	}
}
