package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/bench/child"
	"github.com/hashpivot/hashpivot/bench/load"
)

// fanoutPeer is a server under measurement.
type fanoutPeer struct {
	name     string
	command  []string
	protocol load.Protocol
	common   string // the channel of all clients
	flood    string // the channel that one client drowns in
}

// fanoutServer is one that runs, in a process of its own.
type fanoutServer struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	addr string
}

func (p fanoutPeer) start(ctx context.Context) (*fanoutServer, error) {
	s := &fanoutServer{cmd: exec.CommandContext(ctx, p.command[0], p.command[1:]...)}
	s.cmd.Stderr = os.Stderr
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 15 * time.Second
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	s.out = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (make bench builds it): %w", p.name, err)
	}
	r, err := s.answer()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", p.name, err), s.close())
	}
	s.addr = r.Addr
	return s, nil
}

func (s *fanoutServer) answer() (child.Report, error) {
	var r child.Report
	if !s.out.Scan() {
		return r, fmt.Errorf("the server ended: %w", errors.Join(s.out.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(s.out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("read its report: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// order gives an order that is not answered.
func (s *fanoutServer) order(name string, arg uint64) error {
	if _, err := fmt.Fprintf(s.in, "%s %d\n", name, arg); err != nil {
		return fmt.Errorf("order %s: %w", name, err)
	}
	return nil
}

// ask gives one that is.
func (s *fanoutServer) ask(name string) (child.Report, error) {
	if _, err := fmt.Fprintln(s.in, name); err != nil {
		return child.Report{}, fmt.Errorf("order %s: %w", name, err)
	}
	r, err := s.answer()
	if err != nil {
		return r, fmt.Errorf("order %s: %w", name, err)
	}
	return r, nil
}

func (s *fanoutServer) close() error {
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	timer := time.AfterFunc(15*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	return errors.Join(err, s.cmd.Wait())
}
