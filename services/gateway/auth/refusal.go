package auth

import (
	"errors"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// Reasons of refusals, for counters and for choosing a close code.
const (
	ReasonAbsent    = "absent"    // no token where one is needed
	ReasonMalformed = "malformed" // no JWT, or not of the shape that is needed
	ReasonForged    = "forged"    // signature, algorithm or key do not fit
	ReasonExpired   = "expired"
	ReasonEarly     = "early"    // nbf or iat lie ahead
	ReasonAudience  = "audience" // issuer or audience
	ReasonClaims    = "claims"   // lifetime, scope, subject
	ReasonUsed      = "used"     // a ticket that was redeemed
	ReasonStore     = "store"    // who redeemed what cannot be asked
)

// refusal is a refused token with its reason.
type refusal struct {
	reason string
	err    *live.Error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(reason, format string, args ...any) error {
	return &refusal{reason, live.Errorf(live.CodeUnauthorised, format, args...)}
}

// Reason is why a token was refused: one of the reasons, or empty where err is something else.
func Reason(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.reason
	}
	return ""
}

// Expired reports whether a fresh token is all that is missing.
func Expired(err error) bool { return Reason(err) == ReasonExpired }

// Absent reports whether no token was given: the connection may still authenticate.
func Absent(err error) bool { return Reason(err) == ReasonAbsent }
