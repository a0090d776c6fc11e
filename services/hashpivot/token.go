package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

type tokenCmd struct {
	Subject       string        `help:"Who the token is for; limits are counted by it." required:"" placeholder:"NAME"`
	Scope         []string      `help:"What may be read: channel:symbols, as trades:CORZ,IREN or *:*; may be repeated." required:"" sep:"none" placeholder:"SCOPE"`
	TTL           time.Duration `name:"ttl" help:"How long it is valid, at most gateway.auth.max_ttl." default:"1h"`
	Connections   int           `help:"Connections that the subject may have at once; 0: the gateway's limit."`
	Subscriptions int           `help:"Subscriptions of each connection; 0: the gateway's limit."`
	MaxRate       float64       `help:"Messages a second and symbol; 0: all."`
}

// Run signs a token with the configuration's key and prints it.
func (c *tokenCmd) Run(a *app) error {
	cfg, err := a.load("")
	if err != nil {
		return err
	}
	v, err := auth.New(cfg.Gateway.Auth, nil, time.Now)
	if err != nil {
		return run.Usage(fmt.Errorf("gateway.%w", err))
	}
	token, grant, err := v.Mint(auth.Order{
		Subject: c.Subject, Scope: c.Scope, TTL: c.TTL,
		Limits: auth.Limits{Connections: c.Connections, Subscriptions: c.Subscriptions, MaxRate: c.MaxRate},
	})
	if errors.Is(err, auth.ErrCannotSign) {
		return run.Usage(fmt.Errorf("sign token: %w", err))
	}
	if err != nil {
		return run.Usage(fmt.Errorf("sign token for %.64q: %w", c.Subject, err))
	}
	if !a.cli.JSON {
		a.printf("%s\n", token)
		return nil
	}
	line, err := json.Marshal(struct {
		Token   string    `json:"token"`
		Subject string    `json:"subject"`
		Scope   []string  `json:"scope"`
		Expires time.Time `json:"expires"`
	}{token, grant.Subject, grant.Scope(), grant.Expires.UTC()})
	if err != nil {
		return err
	}
	a.printf("%s\n", line)
	return nil
}
