package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// leaseConfig of the leases on which services are active or stand by.
type leaseConfig struct {
	// TTL: a standby takes over so long after the holder's last sign of life, at the latest 1.25 times that.
	TTL time.Duration `koanf:"ttl"`
}

// Validate names the key that is wrong.
func (c leaseConfig) Validate() error {
	if c.TTL < 500*time.Millisecond || c.TTL > time.Minute {
		return fmt.Errorf("lease.ttl: %s is not from 500ms to 1m", c.TTL)
	}
	return nil
}

// holder names this process in a lease: host, pid namespace, pid.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "/" + pidNamespace() + "/" + strconv.Itoa(os.Getpid())
}

// pidNamespace tells containers of one host apart; empty where the system has none.
func pidNamespace() string {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.Trim(strings.TrimPrefix(ns, "pid:"), "[]")
}

// deadHolder reports whether a holder is a process of this machine that has certainly ended. Without a pid namespace to compare it knows
// nothing; a pid that was given out again looks alive, and the lease's time decides.
func deadHolder(name string) bool {
	mine := strings.Split(holder(), "/")
	its := strings.Split(name, "/")
	if len(its) != 3 || its[0] != mine[0] || its[1] == "" || its[1] != mine[1] {
		return false
	}
	pid, err := strconv.Atoi(its[2])
	return err == nil && pid > 0 && syscall.Kill(pid, 0) == syscall.ESRCH
}
