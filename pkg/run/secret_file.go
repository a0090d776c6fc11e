package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
)

// fileSuffix behind the key of any secret makes a key that names a file with it: nats.password_file, as containers are given their secrets.
const fileSuffix = "_file"

// maxSecret bounds what is read of such a file.
const maxSecret = 64 << 10

var secretType = reflect.TypeFor[Secret]()

// secrets calls fn for each secret of a configuration of type t that lies in raw, with the map that holds it and its name there.
func secrets(t reflect.Type, raw map[string]any, path string, fn func(holder map[string]any, name, key string) error) error {
	for i := range t.NumField() {
		field := t.Field(i)
		name, option, _ := strings.Cut(field.Tag.Get("koanf"), ",")
		ft := field.Type
		switch {
		case option == "squash":
			if err := secrets(ft, raw, path, fn); err != nil {
				return err
			}
		case name == "" || name == "-":
		case ft == secretType:
			if err := fn(raw, name, path+name); err != nil {
				return err
			}
		case ft.Kind() == reflect.Struct:
			if below, ok := raw[name].(map[string]any); ok {
				if err := secrets(ft, below, path+name+".", fn); err != nil {
					return err
				}
			}
		case (ft.Kind() == reflect.Map || ft.Kind() == reflect.Slice) && ft.Elem().Kind() == reflect.Struct:
			for at, below := range entries(raw[name]) {
				if err := secrets(ft.Elem(), below, path+name+"."+at+".", fn); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// entries are the maps in a map or a list.
func entries(v any) map[string]map[string]any {
	out := map[string]map[string]any{}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if m, ok := x.(map[string]any); ok {
				out[k] = m
			}
		}
	case []any:
		for i, x := range v {
			if m, ok := x.(map[string]any); ok {
				out[fmt.Sprint(i)] = m
			}
		}
	}
	return out
}

// readSecrets puts the content of the files that are named in place of secrets into raw, and refuses what would be another secret than was written.
func readSecrets(into any, raw map[string]any) error {
	return secrets(reflect.TypeOf(into).Elem(), raw, "", func(holder map[string]any, name, key string) error {
		switch holder[name].(type) {
		case nil, string, Secret:
		case bool, int, int64, uint64, float64:
			// 0123 would be 83, and true 1.
			return Usage(fmt.Errorf("%s: YAML reads it as a number or a truth value and would change it; put it in quotes", key))
		default:
			return Usage(fmt.Errorf("%s: is not a text", key)) // the decoder's own error would repeat it
		}
		file, ok := holder[name+fileSuffix]
		delete(holder, name+fileSuffix)
		if !ok || file == "" {
			return nil
		}
		path, ok := file.(string)
		if !ok {
			return Usage(fmt.Errorf("%s%s: is not the name of a file", key, fileSuffix))
		}
		if given := holder[name]; given != nil && given != "" && given != Secret("") {
			return Usage(fmt.Errorf("%s and %s%s are both given; give one of them", key, key, fileSuffix))
		}
		text, err := readSecret(path)
		if err != nil {
			return Usage(fmt.Errorf("%s%s: %w", key, fileSuffix, err))
		}
		holder[name] = text
		return nil
	})
}

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%s may not be read by this user; give the file to it", path)
	case err != nil:
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%s has more than %d bytes; is it the right file?", path, maxSecret)
	}
	// Editors and echo end a file with a line end, which is not meant.
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

// secretFileKeys are the keys of files for the secrets of a configuration that is not empty.
func secretFileKeys(into any, raw map[string]any) []string {
	var out []string
	_ = secrets(reflect.TypeOf(into).Elem(), raw, "", func(_ map[string]any, _, key string) error {
		out = append(out, key+fileSuffix)
		return nil
	})
	return out
}

// raw is a koanf provider of a map.
type raw map[string]any

// ReadBytes implements koanf.Provider.
func (raw) ReadBytes() ([]byte, error) { return nil, errors.New("a map has no bytes") }

// Read implements koanf.Provider.
func (r raw) Read() (map[string]any, error) { return r, nil }
