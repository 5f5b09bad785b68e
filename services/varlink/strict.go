package varlink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays of a message may be nested, the
// message itself being the first.
const MaxDepth = 16

// Unmarshal decodes one JSON value from a peer into what v points to, by
// strict rules: UTF-8, nothing after the value, at most MaxDepth levels, no
// two names in an object that are equal or differ by case only, names exactly
// as the json tags have them, no unknown ones, null only where v can hold it.
// The error wraps ErrMalformed and quotes no text of the peer. The caller has
// bounded the size of data.
func Unmarshal(data []byte, v any) error { return unmarshal(data, v, false) }

// UnmarshalGrowing is Unmarshal for replies, whose shapes grow: unknown names
// are passed over, but for those that differ from a known one by case only.
func UnmarshalGrowing(data []byte, v any) error { return unmarshal(data, v, true) }

func unmarshal(data []byte, v any, growing bool) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	if !json.Valid(data) {
		return fmt.Errorf("%w: not one JSON value", ErrMalformed)
	}
	w := walker{json.NewDecoder(bytes.NewReader(data)), growing}
	w.dec.UseNumber()
	if err := w.value(reflect.TypeOf(v), 0); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		// encoding/json quotes what it does not like; say only where.
		if t, ok := err.(*json.UnmarshalTypeError); ok {
			return fmt.Errorf("%w: wrong type of %.64q", ErrMalformed, t.Field)
		}
		return fmt.Errorf("%w: value out of range", ErrMalformed)
	}
	return nil
}

// walker goes through a valid JSON value beside the type that will hold it,
// and looks for what encoding/json would let pass.
type walker struct {
	dec     *json.Decoder
	growing bool
}

// value checks the next value. A nil type holds anything.
func (w walker) value(t reflect.Type, depth int) error {
	nullable := depth > 0 && t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice)
	t = concrete(t)
	tok, err := w.dec.Token()
	if err != nil {
		return fmt.Errorf("bad token")
	}
	switch tok {
	case json.Delim('{'):
		return w.object(t, depth+1)
	case json.Delim('['):
		return w.array(t, depth+1)
	case nil:
		if t != nil && !nullable {
			return fmt.Errorf("null where a value is needed")
		}
	}
	return nil
}

func (w walker) array(t reflect.Type, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested too deep")
	}
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	for w.dec.More() {
		if err := w.value(elem, depth); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w walker) object(t reflect.Type, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested too deep")
	}
	fields := fieldsOf(t)
	seen := make(map[string]bool)
	for w.dec.More() {
		tok, err := w.dec.Token()
		if err != nil {
			return fmt.Errorf("bad token")
		}
		name := tok.(string) // json.Valid has seen to it
		folded := fold(name)
		if seen[folded] {
			return fmt.Errorf("name given twice")
		}
		seen[folded] = true
		elem, err := w.member(t, fields, name, folded)
		if err != nil {
			return err
		}
		if err := w.value(elem, depth); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

// member returns the type that holds the member of that name.
func (w walker) member(t reflect.Type, fields map[string]field, name, folded string) (reflect.Type, error) {
	if t != nil && t.Kind() == reflect.Map {
		return t.Elem(), nil
	}
	f, known := fields[folded]
	switch {
	case fields == nil:
		return nil, nil
	case known && f.name == name:
		return f.typ, nil
	case known:
		return nil, fmt.Errorf("name in the wrong case")
	case !w.growing:
		return nil, fmt.Errorf("unknown name")
	}
	return nil, nil
}

type field struct {
	name string
	typ  reflect.Type
}

// fieldsOf returns what encoding/json would fill of a struct, by folded name;
// nil if t is no struct.
func fieldsOf(t reflect.Type) map[string]field {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	fields := make(map[string]field)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[fold(name)] = field{name, f.Type}
	}
	return fields
}

// concrete follows pointers, and returns nil for types that hold any JSON.
func concrete(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		if t.Implements(reflect.TypeFor[json.Unmarshaler]()) {
			return nil
		}
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	return t
}

// fold maps the names that encoding/json takes for equal to one: of the runes
// that unicode.SimpleFold holds together, the lowest.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		lowest := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			lowest = min(lowest, f)
		}
		return lowest
	}, s)
}
