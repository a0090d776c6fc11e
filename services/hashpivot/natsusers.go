package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/run"
)

type natsUsersCmd struct {
	NKeys string `name:"nkeys" help:"Tell users by nkeys instead of passwords: make what is missing of USER.nk in this directory, each for its service alone." placeholder:"DIR"`
}

// natsPassword is the variable of nats-server's environment that holds a user's password.
func natsPassword(user string) string { return "NATS_" + strings.ToUpper(user) + "_PASSWORD" }

// Run prints the users of all services with their rights, as nats-server's configuration: to be included in it.
func (c *natsUsersCmd) Run(a *app) error {
	if a.cli.JSON {
		return c.asJSON(a)
	}
	login := func(user string) string { return fmt.Sprintf("user: %q, password: $%s", user, natsPassword(user)) }
	if c.NKeys != "" {
		if err := os.MkdirAll(c.NKeys, 0o700); err != nil {
			return run.Usage(fmt.Errorf("--nkeys: %w", err))
		}
		public := map[string]string{}
		for _, d := range bus.Duties() {
			var err error
			if public[d.User], err = bus.NKey(filepath.Join(c.NKeys, d.User+".nk")); err != nil {
				return run.Usage(fmt.Errorf("--nkeys: %w", err))
			}
		}
		login = func(user string) string { return fmt.Sprintf("nkey: %q", public[user]) }
	}
	a.printf("# Made by hashpivot nats-users: what each service may do, and nothing else.\n")
	return bus.WriteUsers(a.stdout, login)
}

// asJSON prints a user a line, for programs.
func (*natsUsersCmd) asJSON(a *app) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	for _, d := range bus.Duties() {
		r := d.Rights()
		if err := enc.Encode(struct {
			User      string   `json:"user"`
			Does      string   `json:"does"`
			Publish   []string `json:"publish"`
			Subscribe []string `json:"subscribe"`
			Responds  bool     `json:"responds"`
		}{d.User, d.Does, r.Publish, r.Subscribe, r.Responds}); err != nil {
			return err
		}
	}
	return nil
}
