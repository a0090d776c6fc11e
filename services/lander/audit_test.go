package lander

import "github.com/hashpivot/hashpivot/services/audit"

// The lander's tests ask services/audit what has landed; the lander itself does not know it.
var Audit = audit.Audit

// AuditResult is the balance of the streams.
type AuditResult = audit.Result
