package audit

import (
	"fmt"
	"time"
)

// Config of the scheduled audit.
type Config struct {
	// Every is how often what came since the last audit is compared; 0: never.
	Every time.Duration `koanf:"every"`
	// FullEvery is how often all that the streams hold is compared, and what they held with earlier checksums; 0: never.
	FullEvery time.Duration `koanf:"full_every"`
	// Threads bounds the engine's threads for a scheduled audit, Share the share of one core that decoding may take.
	Threads int     `koanf:"threads"`
	Share   float64 `koanf:"share"`
	// Retention is applied behind each full audit that is clean.
	Retention Retention `koanf:"retention"`
}

// DefaultConfig looks each hour at what is new and each day at everything.
func DefaultConfig() Config {
	return Config{Every: time.Hour, FullEvery: 24 * time.Hour, Threads: 1, Share: 0.5}
}

// Validate names the key that is wrong.
func (c Config) Validate() error {
	switch {
	case c.Every < 0 || c.Every > 0 && c.Every < time.Second:
		return fmt.Errorf("audit.every: %s is neither 0 (never) nor at least a second", c.Every)
	case c.FullEvery < 0 || c.FullEvery > 0 && c.FullEvery < c.Every:
		return fmt.Errorf("audit.full_every: %s is neither 0 (never) nor at least audit.every (%s)", c.FullEvery, c.Every)
	case c.Threads < 0:
		return fmt.Errorf("audit.threads: %d is below 0 (as the engine likes)", c.Threads)
	case c.Share <= 0 || c.Share > 1:
		return fmt.Errorf("audit.share: %v is not above 0 and at most 1", c.Share)
	}
	return c.Retention.Validate()
}
