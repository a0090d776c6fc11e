package run

import (
	"fmt"
	"time"
)

// ParseTime reads a date (2026-11-01, its UTC midnight), a time (2026-11-01T09:30:00Z) or a duration before now (720h); zero for an empty text.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%.32q is neither a date (2026-11-01), a time (2026-11-01T09:30:00Z) nor a duration before now (720h)", text)
}
