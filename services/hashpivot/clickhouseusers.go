package main

import (
	"encoding/json"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/store"
)

type clickhouseUsersCmd struct {
	Database []string `help:"Grant on this database; may be repeated (default: those of all modes)." placeholder:"NAME"`
}

// clickhousePassword is the variable of the server's environment that holds a user's password.
func clickhousePassword(user string) string {
	return "CLICKHOUSE_" + strings.ToUpper(user) + "_PASSWORD"
}

// Run prints the users of all services with their grants, as a ClickHouse server's users.d reads them.
func (c *clickhouseUsersCmd) Run(a *app) error {
	databases := c.Database
	if len(databases) == 0 {
		for _, m := range []mode{modeLive, modeSim, modeRecorded} {
			databases = append(databases, m.database())
		}
	}
	if !a.cli.JSON {
		return store.WriteUsers(a.stdout, databases, clickhousePassword)
	}
	enc := json.NewEncoder(a.stdout)
	for _, g := range store.Grants() {
		if err := enc.Encode(struct {
			User    string   `json:"user"`
			Does    string   `json:"does"`
			Profile string   `json:"profile,omitempty"`
			Grants  []string `json:"grants"`
		}{g.User, g.Does, string(g.Profile), g.Statements(databases...)}); err != nil {
			return err
		}
	}
	return nil
}
