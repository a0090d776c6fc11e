package native

import (
	"fmt"
	"slices"
)

// typeOf reads a type's name and finds its layout.
func (w *Walker) typeOf() (*colType, error) {
	if err := w.text(maxTypeLen, "type name"); err != nil {
		return nil, err
	}
	return w.layout()
}

// layout finds the layout of the type in w.name.
func (w *Walker) layout() (*colType, error) {
	if t, ok := w.types[string(w.name)]; ok {
		return t, nil
	}
	t, err := parseType(string(w.name))
	if err != nil {
		return nil, err
	}
	if w.types == nil || len(w.types) >= maxTypeCache {
		w.types = make(map[string]*colType)
	}
	w.types[string(w.name)] = t
	return t, nil
}

// prefix passes what stands before a column's data: versions, modes and the structure of the self-describing types. It returns the type with these put in
// the place of what only their data tells.
func (w *Walker) prefix(t *colType) (*colType, error) {
	switch t.shape {
	case shapeLowCardinality:
		v, err := w.uint64()
		if err != nil {
			return nil, err
		}
		if v != 1 {
			return nil, malformed("low cardinality version %d", v)
		}
	case shapeVariant:
		v, err := w.uint64()
		if err != nil {
			return nil, err
		}
		if v != 0 {
			return nil, fmt.Errorf("variant in mode %d: %w", v, ErrUnsupported)
		}
	case shapeDynamic:
		return w.dynamicPrefix()
	case shapeJSON:
		return w.jsonPrefix(t)
	}
	for i, e := range t.elems {
		c, err := w.prefix(e)
		if err != nil {
			return nil, err
		}
		if c != e {
			// The cached type stays as it is.
			n := *t
			n.elems = slices.Clone(t.elems)
			n.elems[i] = c
			t = &n
		}
	}
	return t, nil
}

// dynamicPrefix reads which types a Dynamic column holds.
func (w *Walker) dynamicPrefix() (*colType, error) {
	if w.depth >= maxTypeDepth {
		return nil, malformed("dynamic nested deeper than %d", maxTypeDepth)
	}
	w.depth++
	defer func() { w.depth-- }()
	v, err := w.uint64()
	if err != nil {
		return nil, err
	}
	if v == dynamicV1 {
		if _, err := w.uvarint(); err != nil { // how many it may hold
			return nil, err
		}
	}
	if v != dynamicV1 && v != dynamicV2 && v != dynamicFlat {
		return nil, fmt.Errorf("dynamic in version %d: %w", v, ErrUnsupported)
	}
	n, err := w.uvarint()
	if err != nil {
		return nil, err
	}
	if n > maxDynamic {
		return nil, malformed("dynamic of %d types", n)
	}
	out := &colType{shape: shapeVariant}
	shared := false
	add := func(name string) error {
		w.name = append(w.name[:0], name...)
		t, err := w.layout()
		out.elems = append(out.elems, t)
		return err
	}
	for range n {
		if err := w.text(maxTypeLen, "type name"); err != nil {
			return nil, err
		}
		// Alternatives are in the order of their names, SharedVariant among them.
		if name := string(w.name); v != dynamicFlat && !shared && name > "SharedVariant" {
			shared = true
			if err := add("String"); err != nil {
				return nil, err
			}
			w.name = append(w.name[:0], name...)
		}
		t, err := w.layout()
		if err != nil {
			return nil, err
		}
		out.elems = append(out.elems, t)
	}
	if v == dynamicFlat {
		out.shape = shapeFlatDynamic
	} else {
		if !shared {
			if err := add("String"); err != nil {
				return nil, err
			}
		}
		// From here on it is a Variant, with a prefix of its own.
		return w.prefix(out)
	}
	for i, e := range out.elems {
		if out.elems[i], err = w.prefix(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// jsonPrefix reads which paths a JSON column holds.
func (w *Walker) jsonPrefix(t *colType) (*colType, error) {
	v, err := w.uint64()
	if err != nil {
		return nil, err
	}
	switch v {
	case jsonString:
		return &colType{shape: shapeString}, nil
	case jsonV1:
		if _, err := w.uvarint(); err != nil { // how many paths it may hold
			return nil, err
		}
	case jsonV2, jsonFlat:
	default:
		return nil, fmt.Errorf("JSON in version %d: %w", v, ErrUnsupported)
	}
	n, err := w.uvarint()
	if err != nil {
		return nil, err
	}
	if n > maxDynamic {
		return nil, malformed("JSON of %d paths", n)
	}
	for range n {
		if err := w.text(maxNameLen, "path of a JSON"); err != nil {
			return nil, err
		}
	}
	out := &colType{shape: shapeTuple}
	for _, e := range t.elems { // typed paths
		c, err := w.prefix(e)
		if err != nil {
			return nil, err
		}
		out.elems = append(out.elems, c)
	}
	for range n {
		c, err := w.dynamicPrefix()
		if err != nil {
			return nil, err
		}
		out.elems = append(out.elems, c)
	}
	if v != jsonFlat { // what fits in no path: Array(Tuple(path String, value String))
		text := &colType{shape: shapeString}
		pair := &colType{shape: shapeTuple, elems: []*colType{text, text}}
		out.elems = append(out.elems, &colType{shape: shapeArray, elems: []*colType{pair}})
	}
	return out, nil
}
