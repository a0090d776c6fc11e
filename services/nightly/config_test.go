package nightly

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string]func(*Config){
		"nightly.enabled":        func(c *Config) { c.Enabled = "maybe" },
		"nightly.notebooks":      func(c *Config) { c.Notebooks = []string{"../../etc"} },
		"nightly.calendar":       func(c *Config) { c.Calendar = "moon" },
		"nightly.clickhouse_url": func(c *Config) { c.ClickHouseURL = "http://u:p@h:1" },
		"nightly.incomplete":     func(c *Config) { c.Incomplete = "maybe" },
		"nightly.parallel":       func(c *Config) { c.Parallel = 0 },
		"nightly.time_limit":     func(c *Config) { c.TimeLimit = 0 },
		"nightly.max_memory":     func(c *Config) { c.MaxMemory = 1 },
		"nightly.max_output":     func(c *Config) { c.MaxOutput = 1 },
		"nightly.webhook.url":    func(c *Config) { c.Webhook.URL = "ftp://secret-key" },
	} {
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), key) || strings.Contains(err.Error(), "secret-key") {
			t.Errorf("%s: %v", key, err)
		}
	}
	// YAML's and the environment's words for it.
	for text, want := range map[string]bool{"true": true, "1": true, "false": false, "0": false} {
		if on, auto, err := (Config{Enabled: text}).Switch(); err != nil || auto || on != want {
			t.Errorf("%s: %v %v %v", text, on, auto, err)
		}
	}
}
