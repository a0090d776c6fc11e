package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// UsageError is the operator's to mend: a wrong key, an occupied port, a directory that cannot be read. The program ends with code 2.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what was wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// Usage marks err as the operator's to mend; nil stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &UsageError{err}
}

// EnvPrefix begins the environment variables of the configuration: HASHPIVOT_NATS__URL is the key nats.url.
const EnvPrefix = "HASHPIVOT_"

// Source is where a configuration comes from, in rising order of precedence: the defaults that are already in the target, the file, the
// environment, the assignments of the command line.
type Source struct {
	File    string   // YAML; empty: none
	Environ []string // as os.Environ
	// NotConfig are variables with EnvPrefix that are no configuration.
	NotConfig []string
	Set       []string // key=value
}

// Load fills into, a pointer to a struct with koanf tags that holds the defaults. An unknown key is a UsageError that names it and the
// nearest known one. Behind the key of each secret _file makes one that names a file with it.
func Load(into any, src Source) error {
	k := koanf.New(".")
	if err := k.Load(values(into), nil); err != nil {
		return fmt.Errorf("read default configuration: %w", err)
	}
	known := append(k.Keys(), secretFileKeys(into, k.Raw())...)
	set := func(layer *koanf.Koanf, where string) error {
		for _, key := range layer.Keys() {
			if !isKnown(known, key) {
				return Usage(fmt.Errorf("%s: unknown key %s%s", where, key, suggest(known, key)))
			}
		}
		return k.Merge(layer)
	}
	if src.File != "" {
		text, err := os.ReadFile(src.File)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return Usage(fmt.Errorf("configuration file %s does not exist", src.File))
			}
			return Usage(fmt.Errorf("read configuration file: %w", err))
		}
		layer := koanf.New(".")
		if err := layer.Load(rawbytes.Provider(text), yaml.Parser()); err != nil {
			return Usage(fmt.Errorf("configuration file %s is not YAML: %w", src.File, err))
		}
		if err := set(layer, src.File); err != nil {
			return err
		}
	}
	for _, kv := range src.Environ {
		name, value, _ := strings.Cut(kv, "=")
		rest, ok := strings.CutPrefix(name, EnvPrefix)
		if !ok || slices.Contains(src.NotConfig, name) {
			continue
		}
		key := strings.ToLower(strings.ReplaceAll(rest, "__", "."))
		if err := assign(k, known, key, value, "environment variable "+name); err != nil {
			return err
		}
	}
	for _, kv := range src.Set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return Usage(errors.New("--set: is not key=value (it is not repeated here, it may be a secret)"))
		}
		if err := assign(k, known, key, value, "--set"); err != nil {
			return err
		}
	}
	all := k.Raw()
	if err := readSecrets(into, all); err != nil {
		return err
	}
	k = koanf.New(".")
	if err := k.Load(raw(all), nil); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	err := k.UnmarshalWithConf("", into, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: into, TagName: "koanf", WeaklyTypedInput: true, ErrorUnused: false, ZeroFields: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToTimeHookFunc(time.DateOnly),
			mapstructure.TextUnmarshallerHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	}})
	if err != nil {
		return Usage(fmt.Errorf("configuration: %w", err))
	}
	return nil
}

// values is a koanf provider of a struct's values. koanf's own does not know squashed structs.
func values(cfg any) provider { return provider{cfg} }

type provider struct{ cfg any }

// ReadBytes implements koanf.Provider.
func (provider) ReadBytes() ([]byte, error) { return nil, errors.New("a struct has no bytes") }

// Read implements koanf.Provider.
func (p provider) Read() (map[string]any, error) {
	out := map[string]any{}
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{Result: &out, TagName: "koanf"})
	if err != nil {
		return nil, err
	}
	return out, dec.Decode(p.cfg)
}

func assign(k *koanf.Koanf, known []string, key, value, where string) error {
	if !isKnown(known, key) {
		return Usage(fmt.Errorf("%s: unknown key %s%s", where, key, suggest(known, key)))
	}
	return k.Set(key, value)
}

// isKnown accepts a known key and what lies below one (a map's entries).
func isKnown(known []string, key string) bool {
	for _, n := range known {
		if key == n || strings.HasPrefix(key, n+".") {
			return true
		}
	}
	return false
}

func suggest(known []string, key string) string {
	best, at := "", 4
	for _, n := range known {
		if d := distance(n, key); d < at {
			best, at = n, d
		}
	}
	if best == "" {
		return "; hashpivot config prints all keys"
	}
	return "; did you mean " + best + "?"
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(diag+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Flat is a configuration as values by key, to compare it with another; secrets are among them.
func Flat(cfg any) (map[string]any, error) {
	k := koanf.New(".")
	if err := k.Load(values(cfg), nil); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return k.All(), nil
}

// Print writes a configuration as YAML, secrets masked.
func Print(cfg any) ([]byte, error) {
	k := koanf.New(".")
	if err := k.Load(values(cfg), nil); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	raw := k.Raw()
	plain(raw)
	return yaml.Parser().Marshal(raw)
}

// plain turns durations and secrets into the text that a person would write.
func plain(m map[string]any) {
	for key, v := range m {
		switch v := v.(type) {
		case map[string]any:
			plain(v)
		case time.Duration:
			m[key] = v.String()
		case Secret:
			m[key] = v.String()
		case time.Time:
			m[key] = v.Format(time.RFC3339)
		}
	}
}
