package store

import (
	"errors"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
)

// ErrSchema is a table that is not as the migrations leave it. It is no fault of the rows, which land once the table is right, so
// it counts as transient; but it does not pass by itself: run the migrations of this version.
var ErrSchema = errors.New("table differs from this version's schema: run the migrations")

// IsRefused reports whether err says that these very rows can never be stored: a *RowError of Add, or the server's verdict on the
// data. The outcome is known: nothing of the block is stored.
func IsRefused(err error) bool {
	var row *RowError
	if errors.As(err, &row) {
		return true
	}
	code, ok := Code(err)
	return ok && refusesData(code)
}

// IsTransient reports whether the same call may succeed later, which is true of every error but a refusal: what is not known to be
// final is retried without end, because rows of unknown outcome must neither be dropped nor sent under another token.
func IsTransient(err error) bool {
	return err != nil && !IsRefused(err)
}

// IsSchema reports whether err is about the database's shape or the user's rights and needs an operator: the lander retries it as
// anything transient but should say so loudly. It never speaks about the rows, so rows must not die of it.
func IsSchema(err error) bool {
	if errors.Is(err, ErrSchema) {
		return true
	}
	code, ok := Code(err)
	return ok && needsOperator(code)
}

// IsDenied reports whether err says that the user may not do that.
func IsDenied(err error) bool {
	code, ok := Code(err)
	return ok && (code == codeAccessDenied || code == codeReadonly)
}

// IsFull reports whether err says that the server has no room on its disk.
func IsFull(err error) bool {
	code, ok := Code(err)
	return ok && code == 243
}

// IsOverload reports whether err says that the server has too much to do: fewer and larger blocks help.
func IsOverload(err error) bool {
	code, ok := Code(err)
	switch code {
	case 201, 202, 203, 241, 252, 439, 745: // see refusesData
		return ok
	}
	return false
}

// IsReplication reports whether err says that replicas or their Keepers do not do what is asked of them together: another replica may, or the same one later. Of
// what was inserted the outcome is unknown.
func IsReplication(err error) bool {
	code, ok := Code(err)
	switch code {
	case
		225, // NO_ZOOKEEPER
		242, // TABLE_IS_READ_ONLY: the replica has lost its session with Keeper
		244, // UNEXPECTED_ZOOKEEPER_ERROR
		254, // NO_ACTIVE_REPLICAS
		255, // TOO_MANY_RETRIES_TO_FETCH_PARTS
		285, // TOO_FEW_LIVE_REPLICAS
		286, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
		289, // REPLICA_IS_NOT_IN_QUORUM
		319, // UNKNOWN_STATUS_OF_INSERT
		999: // KEEPER_EXCEPTION
		return ok
	}
	return false
}

// Code returns the server's error code in err, if the server has spoken at all.
func Code(err error) (int32, bool) {
	if ex, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return ex.Code, true
	}
	if ex, ok := errors.AsType[*ch.Exception](err); ok {
		return int32(ex.Code), true
	}
	return 0, false
}

// refusesData lists the server's codes that are a verdict on values: the same block gets the same answer for ever. Add checks all
// of them beforehand, so none is expected; a constraint that an operator adds to a table is how one could come.
//
// Not here, on purpose:
//   - 159 TIMEOUT_EXCEEDED, 209 SOCKET_TIMEOUT, 210 NETWORK_ERROR, 198 DNS_ERROR, 279 ALL_CONNECTION_TRIES_FAILED, 394
//     QUERY_WAS_CANCELLED: the outcome is unknown or the way is broken; the token makes the repetition harmless.
//   - 202 TOO_MANY_SIMULTANEOUS_QUERIES, 203 NO_FREE_CONNECTION, 241 MEMORY_LIMIT_EXCEEDED, 252 TOO_MANY_PARTS, 439
//     CANNOT_SCHEDULE_TASK, 745 SERVER_OVERLOADED, 201 QUOTA_EXCEEDED: overload passes. Memory is no verdict on the block: another
//     query held it.
//   - 164 READONLY: an operator sees to the user. Those of IsReplication: the coordination is away; 319 UNKNOWN_STATUS_OF_INSERT is an unknown outcome by name.
//   - 243 NOT_ENOUGH_SPACE, 1002 UNKNOWN_EXCEPTION (a full disk among others), 74 to 76: an operator frees the disk.
//   - 32 ATTEMPT_TO_READ_AFTER_EOF, 33 CANNOT_READ_ALL_DATA, 99 to 102, 40 CHECKSUM_DOESNT_MATCH, 271 CANNOT_DECOMPRESS: a connection
//     or an engine that died midway looks like this from the other side.
//   - 49 LOGICAL_ERROR and every code that nobody thought of.
func refusesData(code int32) bool {
	switch code {
	case
		69,  // ARGUMENT_OUT_OF_BOUND: a time or a number outside its type
		131, // TOO_LARGE_STRING_SIZE
		248, // INVALID_PARTITION_VALUE
		321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
		349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
		407, // DECIMAL_OVERFLOW
		469, // VIOLATED_CONSTRAINT
		691: // UNKNOWN_ELEMENT_OF_ENUM
		return true
	}
	return false
}

// needsOperator lists the codes that speak about the schema, the user or the configuration, not about the rows.
func needsOperator(code int32) bool {
	switch code {
	case
		10,  // NOT_FOUND_COLUMN_IN_BLOCK
		16,  // NO_SUCH_COLUMN_IN_TABLE
		20,  // NUMBER_OF_COLUMNS_DOESNT_MATCH
		44,  // ILLEGAL_COLUMN
		47,  // UNKNOWN_IDENTIFIER
		50,  // UNKNOWN_TYPE
		53,  // TYPE_MISMATCH
		60,  // UNKNOWN_TABLE
		70,  // CANNOT_CONVERT_TYPE
		81,  // UNKNOWN_DATABASE
		115, // UNKNOWN_SETTING
		192, // UNKNOWN_USER
		193, // WRONG_PASSWORD
		243, // NOT_ENOUGH_SPACE
		291, // DATABASE_ACCESS_DENIED
		452, // SETTING_CONSTRAINT_VIOLATION
		497, // ACCESS_DENIED
		516: // AUTHENTICATION_FAILED
		return true
	}
	return false
}
