package gguf

import "fmt"

// metadata are a file's key/value pairs. A method without "Or" wants its key to
// be there; an error names the key.
type metadata map[string]any

// countOr is a whole number from 0 to most, or def without the key.
func (m metadata) countOr(key string, def, most int) (int, error) {
	switch v := m[key].(type) {
	case nil:
		return def, nil
	case uint64:
		if v <= uint64(most) {
			return int(v), nil
		}
	case int64:
		if v >= 0 && v <= int64(most) {
			return int(v), nil
		}
	}
	return 0, fmt.Errorf("metadata %s is %v, want a whole number from 0 to %d", key, show(m[key]), most)
}

// count is a whole number from 1 to most.
func (m metadata) count(key string, most int) (int, error) {
	n, err := m.countOr(key, 0, most)
	if err == nil && n == 0 {
		err = fmt.Errorf("metadata %s is missing or 0", key)
	}
	return n, err
}

func (m metadata) numberOr(key string, def float64) (float64, error) {
	switch v := m[key].(type) {
	case nil:
		return def, nil
	case float64:
		return v, nil
	case uint64, int64:
		return toFloat(v), nil
	}
	return 0, fmt.Errorf("metadata %s is %v, want a number", key, show(m[key]))
}

func (m metadata) boolOr(key string, def bool) (bool, error) {
	switch v := m[key].(type) {
	case nil:
		return def, nil
	case bool:
		return v, nil
	}
	return false, fmt.Errorf("metadata %s is %v, want true or false", key, show(m[key]))
}

func (m metadata) stringOr(key, def string) (string, error) {
	switch v := m[key].(type) {
	case nil:
		return def, nil
	case string:
		return v, nil
	}
	return "", fmt.Errorf("metadata %s is %v, want a string", key, show(m[key]))
}

// strings is an array of strings, nil without the key.
func (m metadata) strings(key string) ([]string, error) {
	switch v := m[key].(type) {
	case nil:
		return nil, nil
	case []string:
		return v, nil
	}
	return nil, fmt.Errorf("metadata %s is %v, want an array of strings", key, show(m[key]))
}

// numbers is an array of numbers, nil without the key.
func (m metadata) numbers(key string) ([]float64, error) {
	switch v := m[key].(type) {
	case nil:
		return nil, nil
	case []float64:
		return v, nil
	}
	return nil, fmt.Errorf("metadata %s is %v, want an array of numbers", key, show(m[key]))
}

// show is a value as an error quotes it: short.
func show(v any) string {
	switch v := v.(type) {
	case []string, []float64:
		return "an array"
	case string:
		return fmt.Sprintf("%.40q", v)
	}
	return fmt.Sprint(v)
}
